"""`mmvit doctor [CONFIG]`: the findings of `checks.doctor`, printed as they come."""

import warnings
from argparse import ArgumentParser
from collections.abc import Sequence

from ..checks.doctor import examine
from .cfg_options import add_cfg_options


def main(arguments: Sequence[str]) -> int:
    """Prints the findings as they come; the exit status is 0 where all is well, else 1."""
    parser = ArgumentParser("python -m mmvit doctor", description="Checks this installation, and a config's files.")
    parser.add_argument("config", nargs="?", help="a file, or the name of one of mmvit's configs")
    add_cfg_options(parser)
    parser.add_argument("--data", action="store_true", help="open every image and label map of the config's datasets, too")
    asked = parser.parse_args(arguments)
    if asked.data and asked.config is None:
        parser.error("--data needs a CONFIG, whose datasets are meant")
    wrong = 0
    warnings.simplefilter("ignore")  # of mmdet and mmseg about themselves: between the lines they would look like findings
    for finding in examine(asked.config, asked.cfg_options, asked.data):
        print(finding, flush=True)
        wrong += not finding.ok
    print(f"{wrong} to fix" if wrong else "all is well")
    return 1 if wrong else 0
