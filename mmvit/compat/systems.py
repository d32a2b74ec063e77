"""What differs between Linux, macOS and Windows."""

import errno
import logging
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import IO, Any

FALLBACK = "PYTORCH_ENABLE_MPS_FALLBACK"  # torch's variable: operators that an Apple GPU lacks run on the CPU
# Flags of Linux that decide speed: vectors, bfloat16, and products of 8-bit integers; the last three are ARM's.
INSTRUCTIONS = "avx2 avx_vnni avx512f avx512_vnni avx512_bf16 amx_bf16 amx_int8 asimd bf16 sve".split()  # noqa: SIM905
# Sent to the parent of a process that ends; Windows has no such signal.
CHILD_ENDED: int | None = getattr(signal, "SIGCHLD", None)
# What some system refuses in a file name: Windows these characters and devices, macOS what is not UTF-8.
REFUSED = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\ud800-\udfff]')
DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)", re.IGNORECASE)
FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", None))  # what a full disk says; the last is none of Windows'
LONGEST = 180  # bytes of a name, of 255: suffixes follow it


def file_name(text: str, otherwise: str = "unnamed") -> str:
    """Return a name from data, such as that of a class, as a file name without suffix that each system takes."""
    name = REFUSED.sub("_", text).encode()[:LONGEST].decode(errors="ignore").rstrip(". ") or otherwise
    return f"_{name}" if DEVICES.match(name) else name


def typed(*words: str) -> str:
    """Return words of a command line as one types them in the system's terminal; cmd.exe takes single quotes literally."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def lock(file: IO[Any]) -> bool:
    """Lock an open file until it is closed or this process ends; return whether nobody else holds it.

    On a file system without locks nobody does.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES)  # of Linux and macOS, and of Windows
    return True


def cores() -> int:
    """Return the number of cores that this process may use; where the system does not tell, that of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """Return the processor's name, and on Linux its instruction sets that decide speed."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    words = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = words.get("flags", words.get("Features", "")).split()
    sets = [name for name in INSTRUCTIONS if name in flags]
    return " ".join(
        [words.get("model name") or platform.processor() or platform.machine(), *([f"({' '.join(sets)})"] if sets else [])]
    )


@cache
def inference_core() -> Any:
    """Return OpenVINO's `Core`, one for the whole process.

    On Linux a core gives the thread that makes it a new stack for handlers of signals, and the one before back when it goes. If
    the first of two goes first, the second gives back one that is freed, and the next signal with a handler, such as the end of
    a data loader's worker, ends the process without a word (seen with OpenVINO 2026.4).

    Raises:
        ImportError: there is no OpenVINO.
    """
    from openvino import Core

    return Core()


def peak_memory() -> float | None:
    """Return the most memory that this process has had resident, in MB; None on Windows.

    Linux counts into `ru_maxrss` what the process that started this one had: a notebook, say.
    """
    status = Path("/proc/self/status")
    if status.is_file() and (found := re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"), re.MULTILINE)):
        return int(found[1]) / 2**10
    try:
        import resource
    except ModuleNotFoundError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def fastest_device() -> str:
    """Return the name of the fastest device: NVIDIA's GPU, Apple's if missing operators may run on the CPU, or the CPU."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if not torch.backends.mps.is_available():
        return "cpu"
    if os.environ.get(FALLBACK) == "1":
        return "mps"
    logging.getLogger("mmengine").warning(
        "on the CPU: Apple's GPU lacks some operators; with %s=1 these alone run on it", FALLBACK
    )
    return "cpu"
