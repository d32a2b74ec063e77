"""Measurement of candidates in one process, in turns, so that other load of the machine affects all alike."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import exp, log

import torch
from torch import Tensor, nn

from mmvit.complexity import Complexity, complexity
from mmvit.errors import InputError
from mmvit.export.timing import clock, in_turns
from mmvit.zoo import find

from . import memory
from .candidates import COMPILED, DTYPES, OURS, Setting, candidate_of, images_of, is_out_of_memory, reference, step_of

TOLERANCE = 1e-3  # largest difference of two forms of the same map in float32, over the map's largest value
BACKWARD = 2  # a backward pass computes twice what the forward pass does: gradients of activations and of weights
PRODUCT = {"cpu": 2048, "cuda": 8192}  # side of the square matrices whose product stands for the machine's limit


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    median: float
    low: float
    high: float

    def quartiles(self, digits: int = 2) -> str:
        return f"{self.low:.{digits}f} to {self.high:.{digits}f}"


@dataclass(frozen=True)
class Row:
    """Candidate at a setting.

    Attributes:
        seconds: time of a step.
        time: seconds over mmvit's, of the same repeat; None when nothing was timed.
        limit: multiply-adds per second, over those of a large matrix product in the same run; None where not known.
        memory: bytes at the peak of a step, above those held before it.
        memory_ratio: memory over mmvit's.
        difference: relative difference of the maps from mmvit's, in float32; None if they are not comparable.
        remark: what went wrong, or what differs.
    """

    setting: Setting
    candidate: str
    seconds: Spread | None = None
    time: Spread | None = None
    limit: float | None = None
    memory: int | None = None
    memory_ratio: float | None = None
    difference: float | None = None
    remark: str = ""


def check_device(device: str) -> None:
    """Raise InputError for a device that torch does not have."""
    kind, _, number = device.partition(":")
    if kind not in PRODUCT or (number and not number.isdecimal()):
        raise InputError(f"--device {device}: expected cpu, cuda or cuda:N")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise InputError(f"--device {device}: torch sees {torch.cuda.device_count()} GPUs here")


def cost_of(setting: Setting) -> Complexity:
    """Return parameters, and multiply-adds of an image."""
    family, arch = find(setting.name)
    with torch.device("meta"):
        return complexity(family(arch, **setting.options), setting.height, setting.width)  # type: ignore[arg-type]  # every family takes arch first


def measure(
    setting: Setting, candidates: Sequence[str], *, repeats: int = 5, peaks: bool = False, product: int | None = None
) -> Iterator[Row]:
    """Return rows of our backbone and of the candidates that have such a network.

    Args:
        candidates: names, besides our backbone.
        repeats: how often each is timed, in turns, after one step to warm up.
        peaks: whether to measure peak memory as well, in processes of their own; on a GPU it always is, in this one.
        product: side of the matrices whose product is the machine's limit; None means `PRODUCT`'s.

    A candidate that has our weights but not our maps is not timed, nor is one that does not fit into memory.

    Raises:
        InputError: unknown names.
    """
    ours, remarks = reference(setting), {OURS: ""}
    differences: dict[str, float] = {}
    steps: dict[str, Callable[[], None]] = {}
    with torch.no_grad(), torch.backends.cudnn.flags(allow_tf32=False):
        expected = ours.eval()(images_of(setting))
    for name in candidates:
        try:
            peer = candidate_of(setting, name, ours)
            remarks[name] = peer.remark
            if peer.comparable:
                differences[name] = difference(peer.network, images_of(setting), expected)
                if differences[name] > TOLERANCE:
                    remarks[name] = f"its maps differ by {differences[name]:.0e}: not timed"
                    continue
            steps[name] = step_of(setting, peer.network)
            steps[name]()
        except InputError as error:
            remarks[name] = str(error)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            remarks[name] = "out of memory"
            steps.pop(name, None)
    steps = {OURS: step_of(setting, ours), **steps}
    steps[OURS]()
    seconds = in_turns(steps, repeats, setting.device)
    equal = {OURS, *(name for name, apart in differences.items() if apart <= TOLERANCE)}
    limit = product_speed(setting, product)
    work = cost_of(setting).multiply_adds * setting.batch * (1 + BACKWARD * setting.train)
    held: dict[str, int | None] = {}
    if torch.device(setting.device).type == "cuda":
        held = {name: memory.peak_on_gpu(step) for name, step in steps.items()}
    elif peaks:
        del expected, steps  # the other processes need the memory
        held = {name: memory.peak_in_own_process(asdict(setting), name) for name in seconds if name != COMPILED}
    our_peak = held.get(OURS)
    for name in [OURS, *candidates]:
        own = spread(seconds[name]) if name in seconds else None
        peak = held.get(name)
        yield Row(
            setting,
            name,
            seconds=own,
            time=spread([theirs / mine for theirs, mine in zip(seconds[name], seconds[OURS], strict=True)]) if own else None,
            limit=work / own.median / limit if own and name in equal else None,
            memory=peak,
            memory_ratio=peak / our_peak if peak is not None and our_peak else None,
            difference=differences.get(name),
            remark=remarks[name],
        )


def difference(network: nn.Module, images: Tensor, expected: Sequence[Tensor]) -> float:
    """Return the difference of the maps from the expected ones, relative to the largest value of each."""
    network.eval()  # not in a chain: mmpretrain's backbones return None
    with torch.no_grad(), torch.backends.cudnn.flags(allow_tf32=False):
        maps = network(images)
    worst = 0.0
    for theirs, mine in zip(maps, expected, strict=True):
        if theirs.shape != mine.shape:
            return float("inf")
        worst = max(worst, ((theirs - mine).abs().max() / mine.abs().max()).item())
    return worst


def product_speed(setting: Setting, side: int | None = None) -> float:
    """Return the multiply-adds per second of a large matrix product in the setting's dtype: what the machine can reach."""
    side = side or PRODUCT[torch.device(setting.device).type]
    left, right = (torch.randn(side, side, device=setting.device, dtype=DTYPES[setting.dtype]) for _ in range(2))
    return side**3 / min(clock(lambda: left @ right, setting.device) for _ in range(5))


def spread(values: Sequence[float]) -> Spread:
    """Return median and quartiles."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def geometric_mean(values: Sequence[float]) -> float:
    return exp(sum(log(value) for value in values) / len(values))
