"""Network of another package beside one of ours: with our weights, and with our taps at its ends."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from mmvit.pyramid import Pyramid
from mmvit.weights.layouts import layout_of
from mmvit.weights.layouts.layout import FRESH

from .written_out import written_out


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


def give_weights(model: Pyramid, peer: nn.Module, toolkit: str, changed: Mapping[str, Tensor] | None = None) -> None:
    """Copy `model`'s tensors, except those of taps and laterals, and the epsilons of its norms into a toolkit's network.

    Args:
        changed: by our names, what the peer gets instead of the model's own tensors.

    Raises:
        RuntimeError: a tensor has no place, or none was found for one of the peer's.
    """
    layout = layout_of(model.record.name, toolkit)
    assert layout is not None
    own = {**model.state_dict(), **(changed or {})}
    renamed = layout.from_ours({name: tensor for name, tensor in own.items() if not name.startswith(FRESH)})
    target = peer.state_dict().keys()
    unknown = sorted({*renamed.unknown, *(renamed.tensors.keys() - target)})
    empty = sorted(target - renamed.tensors.keys())
    if unknown or empty:
        raise RuntimeError(f"{type(peer).__name__} has no {unknown[:3]}, and nothing was found for {empty[:3]}")
    peer.load_state_dict(renamed.tensors)
    modules = dict(model.named_modules())
    for theirs, ours in renamed.origin.items():
        if hasattr(norm := modules.get(ours.removesuffix(".weight")), "eps"):
            peer.get_submodule(theirs.removesuffix(".weight")).eps = norm.eps  # type: ignore[union-attr, assignment]


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
