"""Peers from timm: PVT v2 and VOLO."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mmvit.layers.parts import resize_table
from mmvit.pyramid import Pyramid

from .peer import Peer, Tapped, give_weights


def timm_pvt_v2(arch: str, model: Pyramid, size: tuple[int, int]) -> Peer:
    import timm

    network = timm.create_model(f"pvt_v2_{arch}", num_classes=0)
    give_weights(model, network, "timm")
    return Peer(Intermediates(network))


class Intermediates(nn.Module):
    """timm model as a pyramid."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Any:
        return tuple(self.network.forward_intermediates(images, intermediates_only=True))  # type: ignore[operator]


class TappedIntermediates(Tapped):
    def ends(self, images: Tensor) -> Sequence[Tensor]:
        return self.network.forward_intermediates(images, intermediates_only=True)  # type: ignore[operator]


def timm_volo(arch: str, model: Pyramid, size: tuple[int, int]) -> Peer | None:
    """Return timm's VOLO, built for one size of images, a multiple of 16; the position table is resized beforehand."""
    import timm

    if any(side % 32 for side in size):
        return None
    network: Any = timm.create_model(f"volo_{arch}_224", img_size=size, num_classes=0)
    for unused in ("post_network", "aux_head", "norm", "head"):
        setattr(network, unused, None)
    del network.cls_token
    downsample: Any = model.stages[1].downsample
    grid = (size[0] // 16, size[1] // 16)
    table = resize_table(downsample.pos_embed.detach().flatten(1, 2), downsample.trained_grid, grid, mode="bicubic")
    give_weights(model, network, "timm", {"stages.1.downsample.pos_embed": table.unflatten(1, grid)})
    return Peer(TappedIntermediates(network, model), remark="with mmvit's taps at its ends")
