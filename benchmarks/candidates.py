"""Candidates of a measurement, and how a step of them is run."""

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mmvit.errors import InputError
from mmvit.pyramid import Pyramid
from mmvit.zoo import create, find

from .peer import Peer
from .peers import build_peer

OURS, WITH_CP, COMPILED = "mmvit", "mmvit, with_cp", "mmvit, compiled"
CHANNELS_FIRST, GRAPHS = "mmvit, channels-first", "mmvit, CUDA graphs"
OPTIONS = "mmvit, "  # and options, such as window_size=14
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Setting:
    """Setting of a measurement: images of `height` x `width` pixels, `batch` at a time; bfloat16 means autocast.

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

    @property
    def size(self) -> str:
        return f"{self.height} x {self.width}"


def candidate_of(setting: Setting, candidate: str, model: Pyramid | None = None) -> Peer:
    """Return a candidate on the setting's device, with the weights of `model`, or else with weights that are always the same.

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
    if candidate.startswith(OPTIONS) and "=" in candidate:
        return Peer(with_options(setting, ours, candidate.removeprefix(OPTIONS)), comparable=False)
    if candidate == CHANNELS_FIRST:
        return Peer(channels_first(deepcopy(ours)))
    if candidate == COMPILED:
        return Peer(torch.compile(deepcopy(ours)))  # type: ignore[arg-type]  # a module of its own kind
    if candidate == GRAPHS:
        return Peer(graphs(setting, deepcopy(ours)))
    peer = build_peer(candidate, setting.name, deepcopy(ours).cpu(), setting.height, setting.width)
    if peer is None:
        raise InputError(f"{candidate} has no {setting.name} for {setting.size} pixels")
    peer.network.to(setting.device)
    return peer


def reference(setting: Setting) -> Pyramid:
    """Return our backbone with random weights that are always the same."""
    torch.manual_seed(0)
    return create(setting.name, **setting.options).to(setting.device)


def with_options(setting: Setting, model: Pyramid, words: str) -> Pyramid:
    """Return the same backbone with the options of `words`, such as `window_size=14, max_keys=4000`.

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


def channels_first(model: nn.Module) -> nn.Module:
    """Return the model with convolutions whose inputs and outputs are channels-first maps."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_pre_hook(lambda _, inputs: tuple(value.contiguous() for value in inputs))
    return model


def graphs(setting: Setting, model: Pyramid) -> Pyramid:
    """Return the model, compiled and recorded as CUDA graphs.

    Raises:
        InputError: it trains, or does not run on a GPU.
    """
    if setting.train or torch.device(setting.device).type != "cuda":
        raise InputError(f"{GRAPHS}: for inference on a GPU only")
    return torch.compile(model, mode="reduce-overhead")  # type: ignore[return-value]  # a module of its own kind


def images_of(setting: Setting) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(setting.batch, 3, setting.height, setting.width, generator=generator).to(setting.device)


def step_of(setting: Setting, network: nn.Module) -> Callable[[], None]:
    """Return a function that runs the backbone and, in training, computes gradients of the mean squares of all maps."""
    images = images_of(setting)
    network.train(setting.train)

    def autocast() -> Any:
        return (
            torch.autocast(torch.device(setting.device).type, DTYPES[setting.dtype])
            if setting.dtype != "float32"
            else nullcontext()
        )

    def inference() -> None:
        with torch.no_grad(), autocast():
            network(images)

    def training() -> None:
        network.zero_grad(set_to_none=True)
        with autocast():
            loss = torch.stack([feature_map.float().square().mean() for feature_map in network(images)]).sum()
        loss.backward()

    return training if setting.train else inference


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return "allocate memory" in str(error) or "not enough memory" in str(error)
