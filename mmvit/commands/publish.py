"""`mmvit publish FOLDER_OR_FILE --out DIR [--hub OWNER/REPO]`: files of a trained model for others to use."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from .options import exit_status


def main(arguments: Sequence[str], prog: str = "python -m mmvit publish") -> int:
    """Publish with the options of the command line; return the exit status."""
    parser = ArgumentParser(prog, description="Writes a trained model without its optimiser, with a model card.")
    parser.add_argument(
        "source",
        metavar="FOLDER_OR_FILE",
        help="a work dir or a project (its best checkpoint, or else the newest), or a file",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where to")
    parser.add_argument("--name", help="first part of the files' names (default: the work dir's)")
    parser.add_argument("--hub", metavar="OWNER/REPO", help="upload to a Hugging Face hub (HF_TOKEN, HF_ENDPOINT)")
    return exit_status(_publish, parser.parse_args(arguments))


def _publish(asked: Namespace) -> None:
    from ..export.publishing import publish  # not before it is needed: --help does without torch

    for file in publish(asked.source, asked.out, asked.hub, asked.name):
        print(file)
    if asked.hub:
        print(f"hf://{asked.hub}")
