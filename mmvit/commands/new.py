"""`mmvit new DATA`: from a folder of labelled pictures to a config."""

import logging
import warnings
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from ..compat.systems import typed
from .options import exit_status

TASKS = ("boxes", "masks", "classes", "binary")


def main(arguments: Sequence[str], prog: str = "python -m mmvit new") -> int:
    """Make a project with the options of the command line; return 0, 1 if the doctor found something to fix, or 2."""
    parser = ArgumentParser(prog, description="Reads what a labelling tool wrote, and writes a config that trains on it.")
    parser.add_argument("data", type=Path, metavar="DATA", help="the folder; it stays as it is, and no picture is copied")
    parser.add_argument("--out", type=Path, metavar="DIR", help="a new folder for the config (default: projects/DATA)")
    parser.add_argument("--task", choices=TASKS, help="what to learn (default: what the labels have)")
    parser.add_argument("--arch", default="van_b0", help="backbone, see mmvit list (default: %(default)s)")
    parser.add_argument("--head", help="retinanet, atss, gfl, mask_rcnn, fpn, segformer or upernet (default: by the task)")
    parser.add_argument("--val", type=float, default=0.2, help="share for validation where nothing is split (%(default)s)")
    parser.add_argument("--group-by", metavar="REGEX", help="pictures whose path has the same match stay in one split")
    parser.add_argument("--seed", type=int, default=0, help="of the split (default: %(default)s)")
    parser.add_argument("--format", metavar="NAME", help="coco, voc, yolo, ... (default: recognised)")
    parser.add_argument("--classes", type=_names, metavar="A,B,C", help="names for the values of label maps")
    return exit_status(_new, parser.parse_args(arguments))


def _names(word: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in word.split(","))
    if "" in names or len(set(names)) < len(names):
        raise ArgumentTypeError(f"{word!r}: expected different names with commas between them")
    return names


def _new(asked: Namespace) -> int:
    from rich.console import Console  # not before they are needed: --help does without torch

    from ..project import make, tell
    from ..project.plan import plan

    warnings.simplefilter("ignore")
    console = Console(highlight=False)
    options = make.Options(**{field.name: getattr(asked, field.name) for field in fields(make.Options)})
    with console.status("reading ..."):
        found = make.find(options)
    tell.found(console, found)
    planned = plan(found.task, options.arch, options.head, found.facts)
    config, written = make.write(options, found, planned)
    tell.decided(console, found, planned, written)
    status = _examine(console, config)
    name = typed(str(config.parent))
    picture = options.data / (found.collection.of("val") + found.collection.pictures)[0].file
    tell.commands(console, [f"mmvit train {name}", f"mmvit predict {name} {typed(str(picture))}"])
    return status


def _examine(console: "Console", config: Path) -> int:  # type: ignore[name-defined]  # noqa: F821  # imported late
    """Run the doctor on the config and all of its data; print what is not well, and return the exit status."""
    from ..checks.doctor import examine
    from ..project import tell

    logging.disable(logging.INFO)  # what the checks remark on files that are well
    with console.status("opening every picture ..."):
        findings = list(examine(str(config), data=True))
    logging.disable(logging.NOTSET)
    wrong = sum(finding.verdict == "wrong" for finding in findings)
    told = [finding for finding in findings if finding.verdict != "ok"]
    tell.heading(console, f"Doctor: {f'{wrong} to fix' if wrong else 'nothing to fix' if told else 'all is well'}")
    for finding in told:
        tell.line(console, finding.verdict, f"{finding.subject}: {finding.text}")
    return int(wrong > 0)
