"""Plant small faults, one after another, and name those that no test notices: python tools/mutants.py [WORD ...]."""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HOME = Path(__file__).resolve().parent.parent
TABLE = HOME / "tests" / "mutants.toml"
NOTICED = 1  # pytest's exit status if a test failed
LONGEST = 900  # seconds of the tests of a fault


@dataclass(frozen=True)
class Fault:
    """A small change of a file, and the tests that have to fail with it: arguments of pytest."""

    file: str
    old: str
    new: str
    tests: str

    def __str__(self) -> str:
        return f"{self.file}: {' '.join(self.old.split())} -> {' '.join(self.new.split())}"

    def planted(self, tree: Path) -> str:
        """Return the text of the file with the fault.

        Raises:
            ValueError: the old text is not there, or more than once.
        """
        text = (tree / self.file).read_text(encoding="utf-8") if (tree / self.file).is_file() else ""
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"{self}\n  the old text is there {count} times, expected once: mend this row of {TABLE.name}")
        return text.replace(self.old, self.new)


def read_faults(table: Path) -> list[Fault]:
    """Return the rows of a table of faults."""
    return [Fault(**row) for row in tomllib.loads(table.read_text(encoding="utf-8"))["fault"]]


def copy(tree: Path, to: Path) -> Path:
    """Copy the files of a checkout that git does not ignore."""
    listed = subprocess.run(["git", "ls-files", "-zco", "--exclude-standard"], cwd=tree, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (tree / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tree / name, to / name)
    return to


@contextmanager
def planted(fault: Fault, tree: Path) -> Iterator[None]:
    file = tree / fault.file
    whole = file.read_bytes()
    file.write_text(fault.planted(tree), encoding="utf-8")
    try:
        yield
    finally:
        file.write_bytes(whole)


def run(tests: str, tree: Path) -> tuple[int, str]:
    """Run tests in a tree until one fails; return the exit status, and what was printed."""
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow", "-p", "no:cacheprovider", *shlex.split(tests)]
    # Without compiled files, in which two faults of one length within a second look the same, and without slow plugins.
    without = {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment = {**os.environ, "PYTHONPATH": str(tree), **without}
    try:
        done = subprocess.run(words, cwd=tree, env=environment, capture_output=True, text=True, timeout=LONGEST, check=False)
    except subprocess.TimeoutExpired:
        return -1, f"not done after {LONGEST} s"
    return done.returncode, done.stdout + done.stderr


def missed(fault: Fault, tree: Path) -> str | None:
    """Plant a fault and run its tests; return what is wrong if none fails."""
    began = time.monotonic()
    with planted(fault, tree):
        status, said = run(fault.tests, tree)
    if status == NOTICED:
        by = [
            line.split(" - ")[0].removeprefix("FAILED ") for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))
        ]
        print(f"noticed after {time.monotonic() - began:.0f} s by {', '.join(by)}\n  {fault}", flush=True)
        return None
    if status == 0:
        return f"survived {fault.tests}: {fault}"
    return f"exit status {status} of {fault.tests}, expected {NOTICED}: {fault}\n{said[-2000:]}"


def unfit(tests: str, tree: Path) -> str | None:
    """Run tests without a fault; return what is wrong if they fail."""
    status, said = run(tests, tree)
    return None if status == 0 else f"without a fault, {tests} ends with exit status {status}\n{said[-2000:]}"


def each(check: Callable[..., str | None], tasks: Iterable[object], trees: Sequence[Path]) -> list[str]:
    """Return what `check` says of the tasks, of which one runs in each tree at a time."""
    free: SimpleQueue[Path] = SimpleQueue()
    for tree in trees:
        free.put(tree)

    def one(task: object) -> str | None:
        tree = free.get()
        try:
            return check(task, tree)
        finally:
            free.put(tree)

    with ThreadPoolExecutor(len(trees)) as pool:
        return [said for said in pool.map(one, tasks) if said]


def main(arguments: Sequence[str], home: Path = HOME, table: Path = TABLE) -> int:
    """Plant the faults of a table in copies of a checkout; return 1 if one survives or a row does not apply, else 0."""
    parser = argparse.ArgumentParser("tools/mutants.py", description=__doc__)
    parser.add_argument("words", nargs="*", metavar="WORD", help="plant only faults with one of these in their row")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="number of faults at a time (default: %(default)s)")
    asked = parser.parse_args(arguments)
    faults = [fault for fault in read_faults(table) if not asked.words or any(word in repr(fault) for word in asked.words)]
    for fault in faults:
        try:
            fault.planted(home)
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    with tempfile.TemporaryDirectory() as folder:
        trees = [copy(home, Path(folder) / str(number)) for number in range(asked.workers)]
        wrong = each(unfit, dict.fromkeys(fault.tests for fault in faults), trees) or each(missed, faults, trees)
    print(*wrong, f"{len(faults)} faults, {len(wrong)} of them not noticed" if faults else "no such fault", sep="\n")
    return int(bool(wrong) or not faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
