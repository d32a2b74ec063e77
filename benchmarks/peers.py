"""The same networks in other packages, if these are installed, with our weights if they take them.

A peer maps our names of tensors to its own, so that both compute the same function, up to the epsilons of the norms; outputs
are compared before anything is timed. Packages are imported only when a peer is requested.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from math import sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmvit.backbones import PVT, VAN, VOLO, PVTv2, T2TViT
from mmvit.errors import InputError
from mmvit.layers.parts import resize_table
from mmvit.pyramid import Pyramid
from mmvit.zoo import find

from .written_out import written_out

WRITTEN_OUT = "written-out"
Rename = Callable[[str], str | None]  # our name of a tensor to the peer's; None where it has none


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


def build_peer(package: str, name: str, model: Pyramid, height: int, width: int) -> Peer | None:
    """Return the counterpart of `model`, the zoo's `name`, for images of `height` x `width` pixels, or None.

    Raises:
        InputError: no such peer, or its package is not installed.
    """
    check_peers([package])
    if package == WRITTEN_OUT:
        return Peer(written_out(model))
    family, arch = find(name)
    maker = MAKERS.get((package, family))
    return maker(arch, model, (height, width)) if maker else None


def check_peers(packages: Sequence[str]) -> None:
    """Raise InputError for a peer that is unknown, or whose package is missing."""
    for package in packages:
        if package not in PEERS:
            raise InputError(f"--against {package}: there is no such peer, expected some of {', '.join(PEERS)}")
        if package != WRITTEN_OUT and find_spec(package) is None:
            raise InputError(f"--against {package}: the package is not installed here; install it, or leave it out")


def installed() -> list[str]:
    """Return the peers whose packages are installed."""
    return [package for package in PEERS if package == WRITTEN_OUT or find_spec(package) is not None]


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


# timm


def timm_pvt_v2(arch: str, model: Pyramid, size: tuple[int, int]) -> Peer:
    import timm

    def rename(name: str) -> str:
        return name.replace("stages.0.patch_embed.", "patch_embed.").replace(".patch_embed.", ".downsample.")

    network = timm.create_model(f"pvt_v2_{arch}", num_classes=0)
    give_weights(model, network, rename)
    return Peer(Intermediates(network))


class Intermediates(nn.Module):
    """timm model as a pyramid."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Any:
        return tuple(self.network.forward_intermediates(images, intermediates_only=True))  # type: ignore[operator]


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

    def rename(name: str) -> str | None:
        if name.startswith("taps.") or name.endswith("pos_embed"):
            return None
        if name.startswith("stages.1.downsample."):
            return name.replace("stages.1.downsample.", "network.1.")
        if not name.startswith("stages."):
            return name
        stage, rest = stage_parts(name)
        return f"network.{int(stage) + (stage != '0')}.{rest.removeprefix('blocks.')}"

    give_weights(model, network, rename, spare=("pos_embed",))
    network.pos_embed.data.copy_(table.unflatten(1, grid))
    return Peer(TappedIntermediates(network, model), remark="with mmvit's taps at its ends")


# mmdet and mmseg


def mmdet_name(name: str, tables: bool) -> str:
    """Return mmdet's name of a tensor of PVT or PVTv2; a position table is the first entry of a stage's layers."""
    stage, rest = stage_parts(name)
    if rest == "pos_embed":
        return f"layers.{stage}.1.0.pos_embed"
    if rest.startswith("patch_embed."):
        return f"layers.{stage}.0.{rest.removeprefix('patch_embed.').replace('proj.', 'projection.')}"
    if rest.startswith("norm."):
        return f"layers.{stage}.2.{rest.removeprefix('norm.')}"
    _, block, rest = rest.split(".", 2)
    for ours, theirs in MMDET_PARTS.items():
        if rest.startswith(ours):
            rest = rest.replace(ours, theirs, 1)
            break
    return f"layers.{stage}.1.{int(block) + tables}.{rest}"


MMDET_PARTS = {
    "attn.q.": "attn.attn.in_proj_",
    "attn.kv.": "attn.attn.in_proj_",
    "attn.proj.": "attn.attn.out_proj.",
    "mlp.fc1.": "ffn.layers.0.",
    "mlp.dwconv.": "ffn.layers.1.",
    "mlp.fc2.": "ffn.layers.{fc2}.",
}


def mmdet_pvt(arch: str, model: Pyramid, size: tuple[int, int]) -> Peer | None:
    if any(side % 32 for side in size):  # it does not pad
        return None
    from mmdet.models.backbones.pvt import PyramidVisionTransformer

    network = PyramidVisionTransformer(**mmdet_sizes(PVT, arch), drop_path_rate=0.0)
    give_weights(model, network, lambda name: mmdet_name(name, tables=True).format(fc2=3))
    return Peer(network)


def mmdet_pvt_v2(arch: str, model: Pyramid, size: tuple[int, int]) -> Peer | None:
    if PVTv2.archs[arch].linear:  # it has no linear attention
        return None
    from mmdet.models.backbones.pvt import PyramidVisionTransformerV2

    network = PyramidVisionTransformerV2(**mmdet_sizes(PVTv2, arch), drop_path_rate=0.0)
    give_weights(model, network, lambda name: mmdet_name(name, tables=False).format(fc2=4))
    return Peer(network)


def mmdet_sizes(family: type[Pyramid], arch: str) -> dict[str, Any]:
    sizes = family.archs[arch]
    return dict(
        embed_dims=sizes.dims[0],
        num_layers=list(sizes.depths),
        num_heads=list(sizes.heads),
        sr_ratios=list(sizes.reductions),
        mlp_ratios=list(sizes.mlp_ratios),
    )


def mmseg_mit(arch: str, model: Pyramid, size: tuple[int, int]) -> Peer | None:
    """Return SegFormer's encoder (arXiv 2105.15203) with PVT v2's depths, widths, heads and reductions; b2 is their B2."""
    if PVTv2.archs[arch].linear:
        return None
    from mmseg.models.backbones import MixVisionTransformer

    sizes = mmdet_sizes(PVTv2, arch)
    del sizes["mlp_ratios"]
    network = MixVisionTransformer(**sizes, drop_path_rate=0.0)
    return Peer(network, comparable=False, remark="MiT, another network of equal size: MLP ratio 4 in all stages")


# mmpretrain


def mmpretrain_van(arch: str, model: Pyramid, size: tuple[int, int]) -> Peer:
    from mmpretrain.models import backbones

    sizes = VAN.archs[arch]
    network = backbones.VAN(
        arch=dict(embed_dims=list(sizes.dims), depths=list(sizes.depths), ffn_ratios=list(sizes.mlp_ratios)),
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.0,
    )

    def rename(name: str) -> str:
        stage, rest = stage_parts(name)
        part, _, rest = rest.partition(".")
        if part == "patch_embed":
            rest = rest.replace("proj.", "projection.")
        elif part == "blocks":
            rest = rest.replace(".conv0.", ".DW_conv.").replace(".conv_spatial.", ".DW_D_conv.")
        return f"{part}{int(stage) + 1}.{rest}"

    give_weights(model, network, rename)
    return Peer(network)


def mmpretrain_t2t(arch: str, model: Pyramid, size: tuple[int, int]) -> Peer | None:
    """Return mmpretrain's T2T-ViT: transformer tokens and plain blocks only, because their module has no performer.

    Version 1.2 divides by a scale that is meant to be multiplied with, and ignores the one that it is given
    (`models/utils/attention.py`, `scaled_dot_product_attention_pyimpl`). Both are corrected here, to compute what the authors
    do.
    """
    sizes = T2TViT.archs[arch]
    if sizes.tokens != "transformer" or sizes.design != "plain" or any(side % 32 for side in size):
        return None
    from mmpretrain.models.backbones import T2T_ViT

    ends: list[int] = model.ends  # type: ignore[assignment]
    network = T2T_ViT(
        embed_dims=sizes.embed_dim,
        num_layers=sum(sizes.depths),
        layer_cfgs=dict(num_heads=sizes.heads, feedforward_channels=sizes.mlp_ratio * sizes.embed_dim),
        out_indices=[end - 1 for end in ends],
        final_norm=False,
        out_type="featmap",
    )

    tokens = network.tokens_to_token
    for layer in (tokens.attention1, tokens.attention2, *network.encoder):
        attention = layer.attn
        width = attention.input_dims if attention.v_shortcut else attention.head_dims
        attention.scaled_dot_product_attention = partial(attention.scaled_dot_product_attention.func, scale=sqrt(width))

    def rename(name: str) -> str | None:
        if name.startswith(("taps.", "laterals.")):
            return None
        name = name.removeprefix("embedding.")
        if name.startswith("blocks."):
            name = name.replace("blocks.", "encoder.", 1)
        for ours, theirs in {".norm1.": ".ln1.", ".norm2.": ".ln2.", ".mlp.fc1.": ".ffn.layers.0.0."}.items():
            name = name.replace(ours, theirs)
        return name.replace(".mlp.fc2.", ".ffn.layers.1.")

    give_weights(model, network, rename)
    return Peer(Tapped(network, model), remark="with mmvit's taps at its ends, its attention's scale mended")


MAKERS: Mapping[tuple[str, type[Pyramid]], Callable[[str, Any, tuple[int, int]], Peer | None]] = {
    ("timm", PVTv2): timm_pvt_v2,
    ("timm", VOLO): timm_volo,
    ("mmdet", PVT): mmdet_pvt,
    ("mmdet", PVTv2): mmdet_pvt_v2,
    ("mmseg", PVTv2): mmseg_mit,
    ("mmpretrain", VAN): mmpretrain_van,
    ("mmpretrain", T2TViT): mmpretrain_t2t,
}
PEERS = (WRITTEN_OUT, *dict.fromkeys(package for package, _ in MAKERS))
