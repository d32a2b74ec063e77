"""`python -m mmvit COMMAND ...`: the command line of the package, without a checkout."""

import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple

# By their whole names: a process started by `spawn` runs this file again, outside of its package.
from mmvit.errors import nearest
from mmvit.version import __version__


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

STACK = ("torch", "torchvision", "timm", "mmengine", "mmcv", "mmdet", "mmseg", "msgspec")
BROUGHT = ("ftfy", "matplotlib", "prettytable", "pycocotools", "regex", "scipy", "shapely", "terminaltables")  # by the stack
REMEDY = (
    "Exported models (.onnx, .xml) run without it; everything else needs one of two stacks: pip install 'mmvit[openmmlab]' "
    "(official) or pip install 'mmvit[onedl]' (maintained forks)"
)


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
    _open_streams()
    if not {"", os.getcwd()} & set(sys.path):  # `python -m mmvit` has it, and finds a config's own modules there
        sys.path.insert(0, os.getcwd())
    command = COMMANDS[name]
    return answered(name, lambda: getattr(import_module(command.module), command.function)(rest))


def _open_streams() -> None:
    """Give a process whose output is closed another, and let a terminal print names that its encoding does not have."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def answered(name: str, command: Callable[[], int]) -> int:
    """Return the exit status of a command; if it needs a package that is not installed, say which."""
    try:
        status = command()
        sys.stdout.flush()
    except ImportError as error:
        missing: BaseException | None = error
        while missing is not None and not isinstance(missing, ModuleNotFoundError):
            missing = missing.__context__  # mmengine's error says only which module it was importing
        package = str(getattr(missing, "name", None)).partition(".")[0]
        if package not in (*STACK, *BROUGHT):
            raise
        print(f"error: mmvit {name} needs {package}, which is not installed. {REMEDY}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # who reads has enough, as in `mmvit list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def usage() -> str:
    lines = ["usage: python -m mmvit COMMAND ...", ""]
    lines += [f"  {name:9}  {command.purpose}" for name, command in COMMANDS.items()]
    return "\n".join([*lines, "", "python -m mmvit COMMAND --help lists a command's options."])


if __name__ == "__main__":
    # A process started by `spawn` imports the main module by its path, and with it mmvit, which supplies mmcv's operators. Of a
    # module that has a name, X.__main__, it would import nothing.
    __spec__ = None
    sys.exit(main())
