"""`python -m benchmarks.bands ARCH...`: the time of a backbone by the size from which hidden layers are computed in bands.

The limits take turns in one process, in random order, because a step leaves its memory to the next one.
"""

import argparse
from collections.abc import Sequence
from functools import partial

import mmvit
from mmvit.layers import bands

from . import records, report
from .candidates import Setting, step_of
from .cli import size_of
from .measure import in_turns, spread

WARM_UP = 2  # turns that are not counted
LIMITS = {"above 32 MB": 4 * bands.BAND + 1, "from 32 MB": 4 * bands.BAND, "from 16 MB": 2 * bands.BAND}  # bands.WHOLE


def times(setting: Setting, repeats: int) -> dict[str, float]:
    """Return the median seconds of a step for each limit."""
    step = step_of(setting, mmvit.create(setting.name))

    def limited(limit: int) -> None:
        bands.WHOLE = limit
        step()

    steps = {name: partial(limited, limit) for name, limit in LIMITS.items()}
    return {name: spread(values).median for name, values in in_turns(steps, repeats, setting.device, WARM_UP).items()}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bands", description=__doc__)
    parser.add_argument("archs", nargs="+", metavar="ARCH")
    parser.add_argument("--size", type=size_of, default=(512, 512), metavar="HxW", help="pixels (default: 512x512)")
    parser.add_argument("--train", action="store_true", help="forward and backward pass")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--repeats", type=int, default=8)
    asked = parser.parse_args(words)
    lines = []
    for arch in asked.archs:
        found = times(Setting(arch, *asked.size, train=asked.train, dtype=asked.dtype), asked.repeats)
        first = next(iter(found.values()))
        lines.append([arch, f"{1e3 * first:.0f}", *(f"{seconds / first:.2f}" for seconds in [*found.values()][1:])])
    names = list(LIMITS)
    print(records.machine(), *report.table(("arch", f"{names[0]} (ms)", *names[1:]), lines), sep="\n")


if __name__ == "__main__":
    main()
