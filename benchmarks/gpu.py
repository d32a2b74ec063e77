"""`make gpu`: runs the tests marked `gpu`, times all families, and writes a page; `--device cpu --quick` tries it on a CPU.

There is a time limit. The page lists the measurements that did not fit into it.
"""

import os
import signal
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from time import monotonic

from mmvit.commands.options import at_least_one, exit_status
from mmvit.errors import InputError
from mmvit.zoo import families

from . import candidates, measure, peers, records, report
from .records import HOME

SIZES = ((8, 512, 512), (2, 800, 1280))  # images at a time, height, width
TESTS_SHARE = 0.55  # share of the time limit that the tests may take
FAILURE = 1  # exit status
REPEATS = 7
WORKERS = 4  # processes that test on the GPU at the same time, where pytest-xdist is installed
THREADS = 4  # of each of them, for the references on the CPU
PATIENCE = 30  # seconds that the tests may take to end once their time is over
CHANNELS_FIRST = candidates.CHANNELS_FIRST


def main(arguments: Sequence[str], prog: str = "tools/gpu.py") -> int:
    parser = ArgumentParser(prog, description="Tests and times all backbones on a GPU, and writes the page of results.")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny networks and images, one repeat, as a trial on a CPU")
    parser.add_argument("--minutes", type=at_least_one, default=9, help="time limit (default: %(default)s)")
    parser.add_argument("--select", default="", metavar="WORDS", help="run only the tests that pytest's -k selects")
    parser.add_argument(
        "--out", type=Path, default=HOME / "docs" / "performance_gpu.md", metavar="FILE.md", help="page of results"
    )
    asked = parser.parse_args(arguments)
    failed: list[str] = []
    return exit_status(run, asked, failed) or (FAILURE if failed else 0)


def run(asked: Namespace, failed: list[str]) -> None:
    """Test, measure and write the page; add the name of what failed to `failed`.

    Raises:
        InputError: there is no such device or folder.
    """
    measure.check_device(asked.device)
    if not asked.out.absolute().parent.is_dir():
        raise InputError(f"--out {asked.out}: there is no folder {asked.out.absolute().parent}")
    end = monotonic() + 60 * asked.minutes
    tests = run_tests(asked, TESTS_SHARE * 60 * asked.minutes)
    if tests.returncode:
        failed.append("tests")
    page = [*head(asked), "## Tests", "", "```", *summary(tests.stdout), "```"]
    asked.out.write_text("\n".join([*page, ""]), encoding="utf-8")  # written now in case the measurements crash the process
    rows: list[measure.Row] = []
    broken: list[str] = []
    left_out: list[str] = []
    repeats = 1 if asked.quick else REPEATS
    for setting in settings(asked.device, asked.quick):
        what = f"{setting.name}, {report.heading(setting, repeats)}, {setting.size}"
        if monotonic() > end:
            left_out.append(what)
        else:
            print(f"{what} ...", file=sys.stderr, flush=True)
            try:
                rows += list(
                    measure.measure(setting, others(asked.quick, setting), repeats=repeats, product=64 if asked.quick else None)
                )
            except Exception as error:  # of any kind: the other measurements are not lost
                failed.append(setting.name)
                broken.append(f"{what}: {type(error).__name__}: {error}")
        lists = [
            *itemized("Failed", "Not measured because of an error:", broken),
            *itemized("Left out", f"Not measured within {asked.minutes} minutes:", left_out),
        ]
        asked.out.write_text("\n".join([*page, "", *timings(rows, repeats), *lists, ""]), encoding="utf-8")
    print(asked.out.read_text(encoding="utf-8"))
    print(f"written: {asked.out}", file=sys.stderr)


def itemized(title: str, introduction: str, items: Sequence[str]) -> list[str]:
    """Return a section with a list, or nothing where there are no items."""
    return ["", f"## {title}", "", introduction, "", *(f"- {item}" for item in items)] if items else []


def run_tests(asked: Namespace, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run the tests in a process of their own; if it exceeds its time, it is interrupted, tells what failed, and has failed."""
    words = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "--device", asked.device]
    words += ["-n", str(WORKERS)] if asked.device == "cuda" and find_spec("xdist") else []
    words += ["--quick"] * asked.quick + ["-k", asked.select] * bool(asked.select) + ["tests/gpu"]
    log = asked.out.with_suffix(".log")  # lies there if this process is killed, too
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(words, cwd=HOME, stdout=file, stderr=subprocess.STDOUT, env=environment)
        status, over = waited(process, seconds)
    said = log.read_text(encoding="utf-8") + (f"\nended after {seconds:.0f} s" if over else "")
    print(said, file=sys.stderr)
    return subprocess.CompletedProcess(words, status or (FAILURE if over else 0), said)


def waited(process: subprocess.Popen, seconds: float) -> tuple[int, bool]:
    """Return the exit status of a process and whether it took longer, and was interrupted, or killed if that did not end it."""
    try:
        return process.wait(seconds), False
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    try:
        return process.wait(PATIENCE), True
    except subprocess.TimeoutExpired:
        process.kill()
    return process.wait(), True


def summary(said: str) -> list[str]:
    """Return the failures and the last line of pytest's output."""
    lines = [line for line in said.splitlines() if line.strip()]
    return [*(line for line in lines if line.startswith(("FAILED", "ERROR"))), *lines[-1:]]


def head(asked: Namespace) -> list[str]:
    command = f"python tools/gpu.py --device {asked.device}{' --quick' if asked.quick else ''}"
    return [
        "# Performance on a GPU" if asked.device == "cuda" else "# A dry run of the GPU's page on a CPU",
        "",
        f"Written by `{command}` on {records.machine(asked.device)}; commit {records.commit()}.",
        "",
    ]


def settings(device: str, quick: bool) -> Iterator[candidates.Setting]:
    """Yield the settings to measure, the most important first: bfloat16, then float32."""
    if quick:
        for name, train in (("van_b0", False), ("pvt_v2_b0", True)):
            yield candidates.Setting(name, 64, 64, 2, train, "bfloat16", device)
        return
    names = [f"{family.record.name}_{family.record.small}" for family in families()]
    for dtype, train, (batch, height, width) in product(("bfloat16", "float32"), (False, True), SIZES):
        for name in names:
            yield candidates.Setting(name, height, width, batch, train, dtype, device)


def others(quick: bool, setting: candidates.Setting) -> list[str]:
    recorded = [] if quick or setting.train else [candidates.GRAPHS]
    return [CHANNELS_FIRST, *recorded, *([peers.WRITTEN_OUT] if quick else peers.installed())]


def timings(rows: Sequence[measure.Row], repeats: int) -> Iterator[str]:
    """Yield the lines of a table for each precision, kind of step and size, and of the means over all of them."""
    groups: dict[str, list[measure.Row]] = {}
    for row in rows:
        groups.setdefault(f"{report.heading(row.setting, repeats)}, {row.setting.size}", []).append(row)
    for title, group in groups.items():
        yield from (f"## {title[0].upper()}{title[1:]}", "", *report.rows_table(group), "", *report.means_table(group), "")
    yield from ("## All of the above", "", *report.means_table(rows), "")
    yield from ("## Channels-first", "", "Time of mmvit with channels-first convolutions over its own, by family: means of all")
    yield from ("rows above. Below 1, channels-first is faster.", "", *choice(rows))


def choice(rows: Sequence[measure.Row]) -> list[str]:
    """Return a table of the mean ratios of the channels-first form, with a row for each arch."""
    lines = []
    for name in dict.fromkeys(row.setting.name for row in rows):
        for train in (False, True):
            of_name = [row for row in rows if row.setting.name == name and row.setting.train is train]
            ratios = [row.time.median for row in of_name if row.candidate == CHANNELS_FIRST and row.time]
            if ratios:
                lines.append([name, "training" if train else "inference", f"{measure.geometric_mean(ratios):.2f}"])
    return report.table(("arch", "step", "time / mmvit"), lines)
