"""Network of another package beside one of ours: with our weights, and with our taps at its ends."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmvit.pyramid import Pyramid

from .written_out import written_out

Rename = Callable[[str], str | None]  # our name of a tensor to the peer's; None if it has none


class Peer(NamedTuple):
    """Network of another package.

    Attributes:
        network: images to a tuple of maps.
        comparable: whether it holds our weights, so that its maps must be ours.
        remark: what a reader of the table has to know.
    """

    network: nn.Module
    comparable: bool = True
    remark: str = ""


def give_weights(model: Pyramid, peer: nn.Module, rename: Rename, spare: Sequence[str] = ()) -> None:
    """Copy `model`'s tensors and the epsilons of its norms into `peer`.

    Linear layers are copied into 1 x 1 convolutions, and queries, keys and values of one name are concatenated.

    Raises:
        RuntimeError: a tensor has no place, or none was found for one of the peer's, except for first parts in `spare`.
    """
    target = peer.state_dict()
    parts: dict[str, list[Tensor]] = {}
    for name, tensor in model.state_dict().items():
        new = rename(name)
        if new is not None:
            parts.setdefault(new, []).append(tensor)
    unknown = sorted(set(parts) - set(target))
    empty = sorted(name for name in set(target) - set(parts) if name.partition(".")[0] not in spare)
    if unknown or empty:
        raise RuntimeError(f"{type(peer).__name__} has no {unknown[:3]}, and nothing was found for {empty[:3]}")
    state = {
        name: (torch.cat(tensors) if len(tensors) > 1 else tensors[0]).reshape(target[name].shape)
        for name, tensors in parts.items()
    }
    peer.load_state_dict(state, strict=False)
    for name, module in model.named_modules():
        new = rename(f"{name}.weight") if hasattr(module, "eps") else None
        if new is not None:
            peer.get_submodule(new.removesuffix(".weight")).eps = module.eps  # type: ignore[assignment]


def stage_parts(name: str) -> tuple[str, str]:
    """Return the number of the stage and the rest of a name such as `stages.2.blocks.0.norm1.weight`."""
    _, stage, rest = name.split(".", 2)
    return stage, rest


class Tapped(nn.Module):
    """Network of one stride with our taps, and laterals, at its ends, so that both do the same work."""

    def __init__(self, network: nn.Module, model: Any) -> None:
        super().__init__()
        self.network = network
        self.taps = written_out(model).taps
        self.laterals = getattr(model, "laterals", nn.ModuleDict())
        self.token_maps: list[Tensor] = []
        if self.laterals:
            for split in (network.tokens_to_token.soft_split1, network.tokens_to_token.soft_split2):  # type: ignore[union-attr]
                split.register_forward_pre_hook(self.keep)  # type: ignore[union-attr, operator]

    def keep(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.token_maps.append(inputs[0])

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = []
        for level, feature_map in enumerate(self.ends(images)):
            ours: Any = self.taps[str(level)]
            normed = ours.norm(feature_map.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            tapped = ours.rescale(normed)
            if str(level) in self.laterals:
                tapped = tapped + self.laterals[str(level)](self.token_maps[level])
            maps.append(tapped)
        self.token_maps.clear()
        return tuple(maps)

    def ends(self, images: Tensor) -> Sequence[Tensor]:
        return self.network(images)
