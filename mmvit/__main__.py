"""`python -m mmvit COMMAND ...`: the command line of the package, without a checkout."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from .errors import nearest
from .version import __version__


class Command(NamedTuple):
    """Command of the command line: `function` of `module` takes the remaining words and returns the exit status."""

    module: str  # imported only when the command is asked for
    purpose: str
    function: str = "main"


COMMANDS = {
    "new": Command("mmvit.commands.new", "write a config for a folder of labelled pictures"),
    "train": Command("mmvit.commands.training", "train the model of a config", "training"),
    "test": Command("mmvit.commands.training", "evaluate a checkpoint of a config's model", "evaluation"),
    "predict": Command("mmvit.commands.predict", "find objects or label pixels in images and videos"),
    "analyze": Command("mmvit.commands.analyze", "show where a trained model fails: one page of HTML"),
    "browse": Command("mmvit.commands.browse", "show what a pipeline feeds its model: one page of HTML"),
    "look": Command("mmvit.commands.look", "show what a model sees: maps, attention, class activation"),
    "run": Command("mmvit.commands.run", "run a tool that mmdet or mmseg ships"),
    "list": Command("mmvit.commands.listing", "archs, and the files that their authors released"),
    "convert": Command("mmvit.commands.convert", "write a checkpoint under the names of another toolkit"),
    "publish": Command("mmvit.commands.publish", "make a trained model ready to be given away"),
    "config": Command("mmvit.commands.config", "write a config for another pairing"),
    "get_flops": Command("mmvit.commands.get_flops", "count a config's multiply-adds and parameters"),
    "export": Command("mmvit.commands.export", "write a trained model as one file"),
    "inspect": Command("mmvit.commands.inspect", "show what an exported model tells about itself"),
    "doctor": Command("mmvit.commands.doctor", "check this installation, and a config's files"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the first word names; return its exit status, or 2 for unknown words."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments:
        print(usage(), file=sys.stderr)
        return 2
    name, *rest = arguments
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name == "--version":
        print(__version__)
        return 0
    if name not in COMMANDS:
        print(f"error: python -m mmvit has no command {name!r}; {nearest(name, COMMANDS, most=1)}", file=sys.stderr)
        return 2
    command = COMMANDS[name]
    return getattr(import_module(command.module), command.function)(rest)


def usage() -> str:
    lines = ["usage: python -m mmvit COMMAND ...", ""]
    lines += [f"  {name:9}  {command.purpose}" for name, command in COMMANDS.items()]
    return "\n".join([*lines, "", "python -m mmvit COMMAND --help lists a command's options."])


if __name__ == "__main__":
    sys.exit(main())
