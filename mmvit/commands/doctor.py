"""`mmvit doctor [CONFIG]`: the findings of `checks.doctor`, printed as they come."""

import warnings
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .cfg_options import add_cfg_options

if TYPE_CHECKING:
    from ..checks.findings import Finding


def main(arguments: Sequence[str]) -> int:
    """Print the findings as they come; return 0 if all is well, else 1."""
    parser = ArgumentParser("python -m mmvit doctor", description="Checks this installation, and a config's files.")
    parser.add_argument("config", nargs="?", help="a file, or the name of one of mmvit's configs")
    add_cfg_options(parser)
    parser.add_argument("--data", action="store_true", help="open every image and label map of the config's datasets as well")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="train and validate one step on real samples, save, read and resume a checkpoint, in a temporary folder",
    )
    asked = parser.parse_args(arguments)
    for option in ("data", "dry_run"):
        if getattr(asked, option) and asked.config is None:
            parser.error(f"--{option.replace('_', '-')} needs a CONFIG")
    from ..checks.doctor import examine  # torch, not before it is needed: --help does without

    wrong = unknown = odd = 0
    warnings.simplefilter("ignore")  # mmdet's and mmseg's own warnings would look like findings between the lines
    for finding in examine(asked.config, asked.cfg_options, asked.data):
        print(finding, flush=True)
        wrong += finding.ok is False
        odd += finding.ok is False and finding.subject == "settings"  # with which a run begins all the same
        unknown += finding.ok is None
    for finding in _dry_run(asked.config, asked.cfg_options, wrong - odd) if asked.dry_run else ():
        print(finding, flush=True)
        wrong += finding.ok is False
        unknown += finding.ok is None
    summary = f"{wrong} to fix" if wrong else "all is well" if not unknown else "nothing to fix"
    print(f"{summary}; {unknown} not checked" if unknown else summary)
    return 1 if wrong else 0


def _dry_run(config: str, options: Mapping[str, Any], wrong: int) -> "Iterator[Finding]":
    """Yield the findings of a dry run, unless an earlier finding would stop it."""
    from ..checks.findings import Finding, guarded

    if wrong:
        yield Finding(None, "dry run", "not tried: mend what is marked FIX first")
        return
    from ..config.files import config_file
    from ..trial.dry_run import dry_run  # whose imports fail where the installation does

    yield from guarded("dry run", dry_run, config_file(config), options)
