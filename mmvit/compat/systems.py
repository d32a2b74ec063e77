"""What differs between Linux, macOS and Windows."""

import os
import signal
import sys

# Sent to the parent of a process that ends; Windows has no such signal.
CHILD_ENDED: int | None = getattr(signal, "SIGCHLD", None)


def cores() -> int:
    """Return the number of cores that this process may use; where the system does not tell, that of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_memory() -> float | None:
    """Return the most memory that this process has had resident, in MB; None on Windows."""
    try:
        import resource
    except ModuleNotFoundError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
