"""`make bench-compare COMMIT=...`: times this checkout against one of its commits, on the same machine in one run.

Each side is a process of its own, with its own mmvit; they take turns, in an order drawn by chance.
"""

import json
import os
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from mmvit.commands.options import at_least_one, exit_status
from mmvit.errors import InputError
from mmvit.zoo import families, find

from .cli import size_of
from .measure import geometric_mean, in_turns, spread
from .records import HOME, machine
from .report import table

SIDE = Path(__file__).with_name("compare_side.py")
HERE = "this checkout"
WARM_UP = 2  # turns that are not counted


class Side:
    """A process that computes steps with the mmvit of a folder."""

    def __init__(self, home: Path, setting: dict) -> None:
        environment = {**os.environ, "PYTHONPATH": str(home)}
        words = [sys.executable, str(SIDE), json.dumps(setting)]
        self.process = subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ready = self.say()
        self.maps: list[float] = ready["maps"]
        if Path(ready["package"]) != home / "mmvit":
            raise InputError(f"bench-compare: {home} was to be measured, and {ready['package']} was imported")

    def say(self) -> dict:
        """Return the process's next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise InputError("bench-compare: a side ended by itself; its error is above")
        return json.loads(line)

    def step(self) -> None:
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)
        self.say()


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Give a folder with a commit of this repository, for a while.

    Raises:
        InputError: there is no such commit.
    """
    with TemporaryDirectory(prefix="compare_") as folder:
        home = Path(folder).resolve() / "checkout"
        git = ["git", "-C", str(HOME), "worktree"]
        made = subprocess.run([*git, "add", "--detach", str(home), commit], capture_output=True, text=True, check=False)
        if made.returncode:
            raise InputError(f"bench-compare {commit}: {made.stderr.strip().splitlines()[-1]}")
        try:
            yield home
        finally:
            subprocess.run([*git, "remove", "--force", str(home)], capture_output=True, check=False)


def compare(homes: dict[str, Path], setting: dict, repeats: int) -> tuple[dict[str, list[float]], bool]:
    """Return the seconds of each side, and whether their maps agree."""
    sides: dict[str, Side] = {}
    try:
        for name, home in homes.items():
            sides[name] = Side(home, setting)
        steps = {name: partial(Side.step, side) for name, side in sides.items()}
        seconds = in_turns(steps, repeats, "cpu", WARM_UP)
    finally:
        for side in sides.values():
            side.process.kill()
            side.process.wait()
    first, second = (side.maps for side in sides.values())
    equal = len(first) == len(second) and all(abs(a - b) <= 1e-4 * abs(a) for a, b in zip(first, second, strict=True))
    return seconds, equal


def run(asked: Namespace) -> None:
    names = asked.archs or [f"{family.record.name}_{family.record.small}" for family in families()]
    for name in names:
        find(name)
    lines, ratios = [], []
    with checkout(asked.commit) as other:
        homes = {HERE: HOME, asked.commit: other}
        for name in names:
            setting = dict(arch=name, height=asked.size[0], width=asked.size[1], train=asked.train, dtype=asked.dtype)
            seconds, equal = compare(homes, setting, asked.repeats)
            mine, theirs = seconds.values()
            gain = spread([theirs / mine for mine, theirs in zip(mine, theirs, strict=True)])
            ratios.append(gain.median)
            cells = [f"{1e3 * spread(values).median:.1f}" for values in (mine, theirs)]
            lines.append([name, *cells, f"{gain.median:.2f}", gain.quartiles(), "equal" if equal else "**differ**"])
    print(machine(), "", sep="\n")
    columns = ("arch", f"{HERE} (ms)", f"{asked.commit} (ms)", "times as fast", "quartiles", "maps")
    print(*table(columns, lines), "", f"geometric mean: {geometric_mean(ratios):.2f} times as fast", sep="\n")


def main(arguments: Sequence[str]) -> int:
    """Compare with the options of the command line; return the exit status."""
    parser = ArgumentParser("python -m benchmarks.compare", description=__doc__.partition("\n")[0])
    parser.add_argument("commit", help="commit, branch or tag to compare with, such as HEAD~1")
    parser.add_argument("archs", nargs="*", metavar="ARCH", help="names of archs; none for one of each family")
    parser.add_argument("--size", type=size_of, default=(512, 512), metavar="HxW", help="pixels (default: 512x512)")
    parser.add_argument("--train", action="store_true", help="forward and backward pass")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--repeats", type=at_least_one, default=7, help="turns (default: %(default)s)")
    return exit_status(run, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
