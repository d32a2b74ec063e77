"""Peak memory of one step, measured in a process of its own: `python -m benchmarks.memory SETTING CANDIDATE`, both as JSON.

On a CPU it is the process's high-water mark during the step, above what it held before. `getrusage`'s mark is useless for
this on Linux, because a child starts with that of its parent; there the kernel's own mark of this address space is read,
`VmHWM` of /proc/self/status, and reset before the step. On a GPU it is the allocator's peak above what it held before.
"""

import ctypes
import gc
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mmvit.compat.systems import peak_memory

from .records import HOME

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
OUT_OF_MEMORY = 3  # exit status


def peak_in_own_process(setting: dict, candidate: str) -> int | None:
    """Return the bytes at the peak of a step of `candidate`, or None if the machine's memory does not suffice.

    Raises:
        RuntimeError: the process failed otherwise.
    """
    path = os.pathsep.join(filter(None, [str(HOME), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", json.dumps(setting), json.dumps(candidate)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode in (OUT_OF_MEMORY, -9):  # ours, or the kernel's
        return None
    if done.returncode:
        raise RuntimeError(f"the memory of {candidate} could not be measured:\n{done.stderr[-2000:]}")
    return int(json.loads(done.stdout.splitlines()[-1]))


def peak_on_gpu(step: Callable[[], object]) -> int:
    """Return the bytes that the allocator holds at the peak of a step, above those held before it."""
    import torch

    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def limit_to_available() -> None:
    """Make allocations fail that exceed the machine's free memory, before the kernel ends the process."""
    if not STATUS.is_file():
        return
    available = _kibibytes(Path("/proc/meminfo"), "MemAvailable") + _kibibytes(STATUS, "VmData")
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (available * 1024, hard))


def resident() -> int:
    """Return the bytes of this process in memory; on systems other than Linux, the high-water mark so far."""
    return _kibibytes(STATUS, "VmRSS") * 1024 if STATUS.is_file() else high_water()


def high_water() -> int:
    """Return the most bytes that this process held in memory since the last `reset_high_water`, or since its start."""
    return int((peak_memory() or 0) * 2**20)


def reset_high_water() -> None:
    """Reset the kernel's mark to what is held now; if that is not possible, the mark counts from the start.

    Memory that building left free in the heap is first returned to the kernel: a step would fill it without being seen.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
        if trim is not None:
            trim(0)
    if RESET.exists():
        RESET.write_text("5", encoding="utf-8")


def _kibibytes(file: Path, key: str) -> int:
    line = next(line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1])


def main(setting: str, candidate: str) -> int:
    from . import candidates

    asked = candidates.Setting(**json.loads(setting))
    if asked.device == "cpu":
        limit_to_available()
    try:
        network = candidates.candidate_of(asked, json.loads(candidate)).network
        step = candidates.step_of(asked, network)
        if asked.device == "cpu":
            reset_high_water()
            before = resident()
            step()
            print(max(high_water() - before, 0))
        else:
            print(peak_on_gpu(step))
    except (RuntimeError, MemoryError) as error:
        if not candidates.is_out_of_memory(error):
            raise
        return OUT_OF_MEMORY
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
