"""`mmvit doctor [CONFIG]`: the findings of `checks.doctor`, printed as they come."""

import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .cfg_options import add_cfg_options, add_data_root

if TYPE_CHECKING:
    from ..checks.findings import Finding


def main(arguments: Sequence[str]) -> int:
    """Print the findings as they come; return 1 if anything is wrong, else 0."""
    parser = ArgumentParser("python -m mmvit doctor", description="Checks this installation, and a config's files.")
    parser.add_argument("config", nargs="?", help="a file, the name of one of mmvit's configs, or a project's folder")
    add_cfg_options(parser)
    add_data_root(parser)
    parser.add_argument("--data", action="store_true", help="open every image and label map of the config's datasets as well")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="train and validate one step on real samples, save, read and resume a checkpoint, in a temporary folder",
    )
    asked = parser.parse_args(arguments)
    for option in ("data", "dry_run", "data_root"):
        if getattr(asked, option) and asked.config is None:
            parser.error(f"--{option.replace('_', '-')} needs a CONFIG")
    counts = dict.fromkeys(("wrong", "doubtful", "not checked"), 0)
    warnings.simplefilter("ignore")  # mmdet's and mmseg's own warnings would look like findings between the lines
    for finding in _findings(asked):
        print(finding, flush=True)
        if finding.verdict in counts:
            counts[finding.verdict] += 1
    found = [f"{count} {verdict}" for verdict, count in counts.items() if count]
    print("; ".join(found) or "all is well")
    return 1 if counts["wrong"] else 0


def _findings(asked: Namespace) -> "Iterator[Finding]":
    """Yield the findings about the installation and the config, then of a dry run, unless an earlier one would stop it."""
    from ..checks.doctor import examine  # torch, not before it is needed: --help does without
    from ..checks.findings import guarded, not_checked

    wrong = 0
    for finding in examine(asked.config, asked.cfg_options, asked.data, asked.data_root):
        wrong += finding.verdict == "wrong"
        yield finding
    if not asked.dry_run:
        return
    if wrong:
        yield not_checked("not tried: mend what is wrong first", subject="dry run")
        return
    from ..trial.dry_run import dry_run  # whose imports fail where the installation does

    yield from guarded("dry run", dry_run, asked.config, asked.cfg_options, asked.data_root, unforeseen="wrong")
