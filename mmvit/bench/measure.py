"""How candidates are measured: in one process, in turns, so that whatever else the machine does hits all alike."""

import inspect
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from math import exp, log
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from ..complexity import Complexity, complexity
from ..errors import InputError
from ..fusion import fuse
from ..pyramid import Pyramid
from ..zoo import create, find
from . import memory
from .peers import Peer, build_peer

OURS, WITH_CP, COMPILED, FUSED = "mmvit", "mmvit, with_cp", "mmvit, compiled", "mmvit, fused"
OPTIONS = "mmvit, "  # and options, such as window_size=14
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TOLERANCE = 1e-3  # largest difference of two forms of the same map in float32, over the map's largest value
BACKWARD = 2  # a backward pass computes twice what the forward pass does: gradients of activations and of weights
PRODUCT = {"cpu": 2048, "cuda": 8192}  # side of the square matrices whose product stands for the machine's limit


@dataclass(frozen=True)
class Setting:
    """What is measured: images of `height` x `width` pixels, `batch` at a time; bfloat16 means autocast.

    `name` is the zoo's, `options` are the backbone's.
    """

    name: str
    height: int
    width: int
    batch: int = 1
    train: bool = False
    dtype: str = "float32"
    device: str = "cpu"
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def pixels(self) -> int:
        return self.height * self.width


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """A candidate at a setting.

    Attributes:
        seconds: of a step.
        time: seconds over mmvit's, of the same repeat; None when nothing was timed.
        limit: multiply-adds per second, over those of a large matrix product in the same run; None where not known.
        memory: bytes at the peak of a step, above those held before it.
        memory_ratio: over mmvit's.
        difference: of the maps from mmvit's, relative, in float32; None when they are not comparable.
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
    """Raises InputError for a device that torch does not have."""
    kind, _, number = device.partition(":")
    if kind not in PRODUCT or (number and not number.isdecimal()):
        raise InputError(f"--device {device}: expected cpu, cuda or cuda:N")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise InputError(f"--device {device}: torch sees {torch.cuda.device_count()} GPUs here")


def cost_of(setting: Setting) -> Complexity:
    """Parameters, and multiply-adds of an image."""
    family, arch = find(setting.name)
    with torch.device("meta"):
        return complexity(family(arch, **setting.options), setting.height, setting.width)  # type: ignore[arg-type]  # every family takes arch first


def candidate_of(setting: Setting, candidate: str, model: Pyramid | None = None) -> Peer:
    """A candidate on the setting's device, with the weights of `model` or such as are always the same.

    Raises:
        InputError: no such name, or the candidate has no such network.
    """
    ours = model or reference(setting)
    if candidate == OURS:
        return Peer(ours)
    if candidate == WITH_CP:
        checkpointed = deepcopy(ours)
        checkpointed.with_cp = True
        return Peer(checkpointed)
    if candidate == FUSED:
        return Peer(fuse(ours))
    if candidate.startswith(OPTIONS) and "=" in candidate:
        return Peer(with_options(setting, ours, candidate.removeprefix(OPTIONS)), comparable=False)
    if candidate == COMPILED:
        return Peer(torch.compile(deepcopy(ours)))  # type: ignore[arg-type]  # a module of its own kind
    peer = build_peer(candidate, setting.name, deepcopy(ours).cpu(), setting.height, setting.width)
    if peer is None:
        raise InputError(f"{candidate} has no {setting.name} for {setting.height} x {setting.width} pixels")
    peer.network.to(setting.device)
    return peer


def reference(setting: Setting) -> Pyramid:
    """Our backbone with random weights, always the same."""
    torch.manual_seed(0)
    return create(setting.name, **setting.options).to(setting.device)


def with_options(setting: Setting, model: Pyramid, words: str) -> Pyramid:
    """The same backbone with the options of `words`, such as `window_size=14, max_keys=4000`.

    Raises:
        InputError: a family without such an option.
    """
    family, _ = find(setting.name)
    options = {name.strip(): int(value) for name, _, value in (word.partition("=") for word in words.split(","))}
    for name in options:
        if name not in inspect.signature(family).parameters:
            raise InputError(f"{family.__name__} has no option {name}")
    variant = create(setting.name, **{**setting.options, **options}).to(setting.device)
    variant.load_state_dict(model.state_dict())
    return variant


def images_of(setting: Setting) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(setting.batch, 3, setting.height, setting.width, generator=generator).to(setting.device)


def step_of(setting: Setting, network: nn.Module) -> Callable[[], None]:
    """A function that runs the backbone on the images, in training also the gradients of the mean squares of all maps."""
    images = images_of(setting)
    network.train(setting.train)

    def autocast() -> Any:
        return torch.autocast(setting.device, DTYPES[setting.dtype]) if setting.dtype != "float32" else nullcontext()

    def inference() -> None:
        with torch.no_grad(), autocast():
            network(images)

    def training() -> None:
        network.zero_grad(set_to_none=True)
        with autocast():
            loss = torch.stack([feature_map.float().square().mean() for feature_map in network(images)]).sum()
        loss.backward()

    return training if setting.train else inference


def measure(
    setting: Setting, candidates: Sequence[str], *, repeats: int = 5, peaks: bool = False, product: int | None = None
) -> Iterator[Row]:
    """Rows of our backbone and of the candidates that have such a network.

    Args:
        candidates: besides our backbone.
        repeats: how often each is timed, in turns, after one step to warm up.
        peaks: whether peak memory is measured too.
        product: side of the matrices whose product is the machine's limit; None means `PRODUCT`'s.

    A candidate whose maps are not ours, though it has our weights, is not timed, nor one that the memory does not hold.

    Raises:
        InputError: unknown names.
    """
    ours, remarks = reference(setting), {OURS: ""}
    differences: dict[str, float] = {}
    steps: dict[str, Callable[[], None]] = {}
    with torch.no_grad():
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
    if peaks:
        del expected, steps  # the processes need the room
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
    """Of the maps from the expected ones, relative to the largest value of each."""
    network.eval()  # not in a chain: mmpretrain's backbones return None
    with torch.no_grad():
        maps = network(images)
    worst = 0.0
    for theirs, mine in zip(maps, expected, strict=True):
        if theirs.shape != mine.shape:
            return float("inf")
        worst = max(worst, ((theirs - mine).abs().max() / mine.abs().max()).item())
    return worst


def in_turns(steps: Mapping[str, Callable[[], None]], repeats: int, device: str) -> dict[str, list[float]]:
    """Seconds of each step in each repeat: every step once, then every step again."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            seconds[name].append(clock(step, device))
    return seconds


def clock(step: Callable[[], Any], device: str) -> float:
    """Seconds that a step takes."""
    synchronise = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    synchronise()
    start = perf_counter()
    step()
    synchronise()
    return perf_counter() - start


def product_speed(setting: Setting, side: int | None = None) -> float:
    """Multiply-adds per second of a large matrix product in the setting's dtype: what the machine can reach."""
    side = side or PRODUCT[torch.device(setting.device).type]
    left, right = (torch.randn(side, side, device=setting.device, dtype=DTYPES[setting.dtype]) for _ in range(2))
    return side**3 / min(clock(lambda: left @ right, setting.device) for _ in range(5))


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def geometric_mean(values: Sequence[float]) -> float:
    return exp(sum(log(value) for value in values) / len(values))


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "allocate memory" in str(error) or "not enough memory" in str(error)
