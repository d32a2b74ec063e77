"""`tools/benchmark.py --whole CONFIG`: times whole training loops and evaluations, ours beside mmdet's or mmseg's own scripts.

Each side runs its own script on the same data, in a process of its own. They take turns: one computes a block of iterations
while the other waits.
"""

import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import perf_counter

from mmengine.config import Config

from mmvit.errors import InputError

from . import measure, records, report
from .records import HOME
from .turns import KEY, SAVED, SOCKET
from .whole_data import our_config, shipped, stock_config, write_data

OURS, STOCK = "mmvit", "stock"
WARM_UP = 1  # blocks that are not counted
TITLES = {"train": "training", "test": "evaluation"}
BOTH = ("--compile", "--cfg-options")  # options of the training that the evaluation takes, too


@dataclass
class Side:
    """Times of one side's training or evaluation.

    Attributes:
        start: seconds from the command to the first iteration.
        blocks: seconds of each block by part.
        memory: bytes of the process and its data workers at the end, shared pages counted once; 0 if not known.
    """

    start: float = 0.0
    blocks: list[Mapping[str, float]] = field(default_factory=list)
    memory: int = 0

    @property
    def seconds(self) -> list[float]:
        return [sum(block.values()) for block in self.blocks]


class Run:
    """A process that runs a side's script."""

    def __init__(self, words: Sequence[str], folder: Path, name: str) -> None:
        self.side = Side()
        self.log = folder / f"{name}.log"
        self.name = name
        listener = Listener(str(folder / f"{name}.socket"), authkey=KEY)
        environment = {**os.environ, SOCKET: str(listener.address), "PYTHONPATH": os.pathsep.join([str(HOME), *sys.path[1:]])}
        began = perf_counter()
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.turns", *words], cwd=folder, env=environment, stdout=log, stderr=log
            )
        listener._listener._socket.settimeout(1)  # type: ignore[attr-defined]  # to notice a process that failed
        self.connection: Connection = self._accept(listener)
        self._receive()
        self.side.start = perf_counter() - began

    def _accept(self, listener: Listener) -> Connection:
        while True:
            try:
                return listener.accept()
            except TimeoutError:
                self._require_running()

    def _receive(self) -> object:
        while not self.connection.poll(1):
            self._require_running()
        return self.connection.recv()

    def _require_running(self) -> None:
        if self.process.poll() is not None:
            raise InputError(f"--whole: {self.name} ended by itself:\n{self.log.read_text(encoding='utf-8')[-3000:]}")

    def block(self) -> None:
        """Let the process compute a block."""
        self.connection.send(True)
        parts = self._receive()
        assert isinstance(parts, dict)
        self.side.blocks.append(parts)

    def end(self) -> Side:
        self.side.memory = memory_of(self.process.pid)
        self.side.blocks = self.side.blocks[WARM_UP:]
        self.connection.send(False)
        self._receive()
        self.process.wait()
        return self.side


def memory_of(pid: int) -> int:
    """Return the bytes of a process and its children, shared pages counted once (on Linux; 0 elsewhere)."""
    total = 0
    for process in [pid, *children(pid)]:
        rollup = Path(f"/proc/{process}/smaps_rollup")
        if rollup.is_file():
            line = next(line for line in rollup.read_text(encoding="utf-8").splitlines() if line.startswith("Pss:"))
            total += int(line.split()[1]) * 1024
    return total


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    direct = [int(word) for task in tasks for word in task.read_text(encoding="utf-8").split()]
    return [*direct, *(grandchild for child in direct for grandchild in children(child))]


def script(side: str, scope: str, name: str) -> str:
    """Return the path of `train.py` or `test.py`, ours or the toolkit's."""
    if side == OURS:
        return str(HOME / "tools" / name)
    return str(shipped(scope, "tools") / name)


def in_turns(runs: Mapping[str, Run], repeats: int) -> dict[str, Side]:
    random = Random(0)
    for _ in range(WARM_UP + repeats):
        for name in random.sample(list(runs), len(runs)):
            runs[name].block()
    return {name: run.end() for name, run in runs.items()}


@contextmanager
def ended(runs: Mapping[str, Run]) -> Iterator[None]:
    """Kill processes that are still running at the end, after an error."""
    try:
        yield
    finally:
        for run in runs.values():
            if run.process.poll() is None:
                run.process.kill()


def compare(asked: Namespace, folder: Path) -> dict[str, dict[str, Side]]:
    """Train, then evaluate each side's weights; return the sides of training (`train`) and evaluation (`test`)."""
    (height, width), name = asked.size[0], asked.archs[0]
    root = folder / "data"
    cfg = our_config(name, root, height, width, asked.batch, asked.workers)
    stock, asked.remark = stock_config(cfg, name)
    asked.toolkit = cfg.default_scope
    write_data(root, height, width, asked.images, cfg.train_dataloader.dataset.type)
    configs = {OURS: cfg, **({STOCK: stock} if asked.against == STOCK else {})}
    found = {}
    for kind in ("train", "test"):
        runs: dict[str, Run] = {}
        with ended(runs):
            for side, config in configs.items():
                file = folder / f"config_of_{side}.py"
                write(config, file, asked.block)
                checkpoint = [str(folder / side / SAVED)] if kind == "test" else []
                words = [
                    script(side, cfg.default_scope, f"{kind}.py"),
                    str(file),
                    *checkpoint,
                    "--work-dir",
                    str(folder / side),
                ]
                words += options_for(kind, asked.options) if side == OURS else []
                runs[side] = Run(words, folder, f"{kind}_{side}")
            found[kind] = in_turns(runs, asked.repeats)
    return found


def options_for(kind: str, words: Sequence[str]) -> list[str]:
    """Return the words that our script gets: all of them in training, what `BOTH` names in the evaluation."""
    kept, taken = [], True
    for word in words:
        taken = kind == "train" or (word.partition("=")[0] in BOTH if word.startswith("--") else taken)
        kept += [word] * taken
    return kept


def write(cfg: Config, file: Path, block: int) -> None:
    cfg = Config({**cfg.to_dict(), "custom_imports": dict(imports=["benchmarks.turns"])})
    cfg.custom_hooks = [*cfg.get("custom_hooks", []), dict(type="TurnHook", block=block)]
    cfg.dump(file)


def run_whole(asked: Namespace) -> None:
    """Measure and print.

    Raises:
        InputError: the config is not supported, or a side fails.
    """
    if len(asked.archs) != 1 or len(asked.size) != 1:
        raise InputError("--whole: expected one config and one size")
    if asked.against not in (STOCK, "none"):
        raise InputError(f"--whole --against {asked.against}: expected stock or none")
    with TemporaryDirectory(prefix="whole_") as folder:
        found = compare(asked, Path(folder))
    lines = list(report_lines(found, asked))
    print("\n".join(lines))
    if asked.json:
        records.write(figures(found, asked), asked.json)


def figures(found: Mapping[str, Mapping[str, Side]], asked: Namespace) -> Iterator[records.Figure]:
    """Yield what was measured, as it is stored: milliseconds of an iteration, and of an image in evaluation."""
    toolkit = asked.toolkit
    for kind, sides in found.items():
        for name, side in sides.items():
            ratio = spread_of(side, sides[OURS]) if name != OURS else None
            size = f"{asked.size[0][0]} x {asked.size[0][1]}"
            named = (TITLES[kind], asked.archs[0], size, name if name == OURS else toolkit)
            yield report.figure(named, measure.spread(side.seconds).median / asked.block, ratio, side.memory or None)


def spread_of(side: Side, ours: Side) -> measure.Spread:
    """Return how many times as fast ours is, block by block."""
    return measure.spread([theirs / mine for theirs, mine in zip(side.seconds, ours.seconds, strict=True)])


def report_lines(found: Mapping[str, Mapping[str, Side]], asked: Namespace) -> Iterator[str]:
    """Yield the lines of the report."""
    height, width = asked.size[0]
    yield records.machine()
    yield f"{asked.archs[0]}, {height} x {width}, batch {asked.batch}, {asked.workers} data workers, {asked.images} images; "
    yield f"stock: {asked.remark}; blocks of {asked.block} iterations in turns, {asked.repeats} after {WARM_UP} to warm up"
    lines = []
    for kind, sides in found.items():
        images = asked.block * (asked.batch if kind == "train" else 1)
        for name, side in sides.items():
            spread, seconds = spread_of(side, sides[OURS]), measure.spread(side.seconds)
            lines.append(
                [
                    TITLES[kind],
                    name,
                    f"{images / seconds.median:.3f}",
                    f"{spread.median:.2f}" if name != OURS else "",
                    spread.quartiles() if name != OURS else "",
                    f"{side.start:.1f}",
                    f"{side.memory / 2**20:.0f}",
                ]
            )
    columns = ("what", "script", "images / s", "time / mmvit", "quartiles", "s to the first iteration", "memory (MiB)")
    yield from ("", *report.table(columns, lines))
    for kind, sides in found.items():
        yield from ("", f"Milliseconds of an iteration by part, {TITLES[kind]}:", "")
        yield from parts_table(sides, asked.block)


def parts_table(sides: Mapping[str, Side], block: int) -> list[str]:
    """Return a table of the mean time of each part over all blocks, the largest first."""
    means = {
        name: {
            part: 1000 * sum(taken.get(part, 0.0) for taken in side.blocks) / len(side.blocks) / block
            for part in {part for taken in side.blocks for part in taken}
        }
        for name, side in sides.items()
    }
    totals = {name: sum(parts.values()) for name, parts in means.items()}
    order = sorted(
        {part for parts in means.values() for part in parts}, key=lambda part: -max(m.get(part, 0) for m in means.values())
    )
    lines = [[part, *(cell for name in sides for cell in _cells(means[name].get(part), totals[name]))] for part in order]
    lines.append(["all", *(cell for name in sides for cell in (f"{totals[name]:.1f}", ""))])
    return report.table(("part", *(column for name in sides for column in (f"{name} (ms)", "share"))), lines)


def _cells(milliseconds: float | None, total: float) -> tuple[str, str]:
    return ("", "") if milliseconds is None else (f"{milliseconds:.2f}", f"{milliseconds / total:.2%}")
