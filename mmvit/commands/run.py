"""`mmvit run mmdet|mmseg TOOL ARGS`: tools that the toolkits ship, with mmvit imported first."""

import ast
import runpy
import sys
from argparse import REMAINDER, ArgumentParser
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ..errors import InputError, nearest
from .options import exit_status

TOOLKITS = ("mmdet", "mmseg")
DEMOS = ("image_demo", "video_demo", "webcam_demo", "image_demo_with_inferencer")  # only in a checkout


def main(arguments: Sequence[str], prog: str = "python -m mmvit run") -> int:
    """Run a tool with the words that follow its name; return its exit status."""
    parser = ArgumentParser(prog, description="Runs a tool that mmdet or mmseg ships, with mmvit imported first.")
    parser.add_argument("toolkit", help=" or ".join(TOOLKITS))
    parser.add_argument(
        "words", nargs=REMAINDER, metavar="TOOL ARGS", help="such as confusion_matrix --help; without a TOOL they are listed"
    )
    asked = parser.parse_args(arguments)
    return exit_status(_run, asked.toolkit, asked.words)


def _run(toolkit: str, words: list[str]) -> int:
    found = tools(toolkit)
    if not words:
        print("\n".join(f"{name:45}  {purpose(file)}" for name, file in found.items()))
        return 0
    file = tool(toolkit, words[0], found)
    before = sys.argv, list(sys.path)
    sys.argv = [str(file), *words[1:]]
    sys.path.insert(0, str(file.parent))
    try:
        runpy.run_path(str(file), run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv, sys.path[:] = before
    return 0


def tools(toolkit: str) -> dict[str, Path]:
    """Return the tools that a toolkit ships by their names, such as `analysis_tools/confusion_matrix`.

    Raises:
        InputError: no such toolkit, or one that is not installed or ships no tools.
    """
    if toolkit not in TOOLKITS:
        raise InputError(f"run {toolkit}: no such toolkit. Expected {' or '.join(TOOLKITS)}")
    spec = find_spec(toolkit)
    if spec is None or spec.origin is None:
        raise InputError(f"run {toolkit}: it is not installed. See mmvit doctor")
    folder = Path(spec.origin).parent / ".mim" / "tools"
    found = {file.relative_to(folder).with_suffix("").as_posix(): file for file in sorted(folder.rglob("*.py"))}
    if not found:
        raise InputError(f"run {toolkit}: no tools in {folder}. Install its wheel: a checkout has them in tools/")
    return found


def tool(toolkit: str, name: str, found: dict[str, Path]) -> Path:
    """Return the file of a tool by its name, whose last part suffices if it is unique.

    Raises:
        InputError: there is no tool of that name, or there are several.
    """
    name = name.removesuffix(".py").removeprefix("tools/")
    if name in found:
        return found[name]
    alike = [full for full in found if full.rpartition("/")[2] == name]
    if len(alike) == 1:
        return found[alike[0]]
    if alike:
        raise InputError(f"run {toolkit} {name}: there are {' and '.join(alike)}; give one of them")
    if name.rpartition("/")[2] in DEMOS:
        raise InputError(f"run {toolkit} {name}: the wheel of {toolkit} does not ship its demos; use python -m mmvit predict")
    short = {full.rpartition("/")[2] for full in found}
    raise InputError(f"run {toolkit} {name}: no such tool; {nearest(name, sorted(short))}")


def purpose(file: Path) -> str:
    """Return the purpose of a tool: its parser's description, or the first line of its first docstring."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "ArgumentParser":
            texts = [*node.args, *(word.value for word in node.keywords if word.arg == "description")]
            for text in texts:
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    return " ".join(text.value.split())
    return (ast.get_docstring(tree) or "").partition("\n")[0]
