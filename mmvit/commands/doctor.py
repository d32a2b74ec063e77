"""`mmvit doctor [CONFIG]`: the findings of `checks.doctor`, printed as they come."""

import warnings
from argparse import ArgumentParser
from collections.abc import Sequence

from .cfg_options import add_cfg_options


def main(arguments: Sequence[str]) -> int:
    """Print the findings as they come; return 0 if all is well, else 1."""
    parser = ArgumentParser("python -m mmvit doctor", description="Checks this installation, and a config's files.")
    parser.add_argument("config", nargs="?", help="a file, or the name of one of mmvit's configs")
    add_cfg_options(parser)
    parser.add_argument("--data", action="store_true", help="open every image and label map of the config's datasets as well")
    asked = parser.parse_args(arguments)
    if asked.data and asked.config is None:
        parser.error("--data needs a CONFIG: it opens the datasets of that config")
    from ..checks.doctor import examine  # torch, not before it is needed: --help does without

    wrong = 0
    warnings.simplefilter("ignore")  # mmdet's and mmseg's own warnings would look like findings between the lines
    for finding in examine(asked.config, asked.cfg_options, asked.data):
        print(finding, flush=True)
        wrong += not finding.ok
    print(f"{wrong} to fix" if wrong else "all is well")
    return 1 if wrong else 0
