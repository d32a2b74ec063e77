"""Peers from OpenMMLab: mmdet's PVT and PVTv2, mmseg's MiT, mmpretrain's VAN and T2T-ViT."""

from functools import partial
from math import sqrt
from typing import Any

from mmvit.backbones import PVT, VAN, PVTv2, T2TViT
from mmvit.pyramid import Pyramid

from .peer import Peer, Tapped, give_weights


def mmdet_pvt(arch: str, model: Pyramid, size: tuple[int, int]) -> Peer | None:
    if any(side % 32 for side in size):  # it does not pad
        return None
    from mmdet.models.backbones.pvt import PyramidVisionTransformer

    network = PyramidVisionTransformer(**mmdet_sizes(PVT, arch), drop_path_rate=0.0)
    give_weights(model, network, "mmdet")
    return Peer(network)


def mmdet_pvt_v2(arch: str, model: Pyramid, size: tuple[int, int]) -> Peer | None:
    if PVTv2.record.archs[arch].linear:  # it has no linear attention
        return None
    from mmdet.models.backbones.pvt import PyramidVisionTransformerV2

    network = PyramidVisionTransformerV2(**mmdet_sizes(PVTv2, arch), drop_path_rate=0.0)
    give_weights(model, network, "mmdet")
    return Peer(network)


def mmdet_sizes(family: type[Pyramid], arch: str) -> dict[str, Any]:
    sizes = family.record.archs[arch]
    return dict(
        embed_dims=sizes.dims[0],
        num_layers=list(sizes.depths),
        num_heads=list(sizes.heads),
        sr_ratios=list(sizes.reductions),
        mlp_ratios=list(sizes.mlp_ratios),
    )


def mmseg_mit(arch: str, model: Pyramid, size: tuple[int, int]) -> Peer | None:
    """Return SegFormer's encoder (arXiv 2105.15203) with PVT v2's depths, widths, heads and reductions; b2 is their B2."""
    if PVTv2.record.archs[arch].linear:
        return None
    from mmseg.models.backbones import MixVisionTransformer

    sizes = mmdet_sizes(PVTv2, arch)
    del sizes["mlp_ratios"]
    network = MixVisionTransformer(**sizes, drop_path_rate=0.0)
    return Peer(network, comparable=False, remark="MiT, another network of equal size: MLP ratio 4 in all stages")


def mmpretrain_van(arch: str, model: Pyramid, size: tuple[int, int]) -> Peer:
    from mmpretrain.models import backbones

    sizes = VAN.record.archs[arch]
    network = backbones.VAN(
        arch=dict(embed_dims=list(sizes.dims), depths=list(sizes.depths), ffn_ratios=list(sizes.mlp_ratios)),
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.0,
    )
    give_weights(model, network, "mmpretrain")
    return Peer(network)


def mmpretrain_t2t(arch: str, model: Pyramid, size: tuple[int, int]) -> Peer | None:
    """Return mmpretrain's T2T-ViT: transformer tokens and plain blocks only, because their module has no performer."""
    sizes = T2TViT.record.archs[arch]
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
    correct_scales(network)
    give_weights(model, network, "mmpretrain")
    return Peer(Tapped(network, model), remark="with mmvit's taps at its ends, its attention's scale mended")


def correct_scales(network: Any) -> None:
    """Make the attention of mmpretrain's T2T-ViT compute what the authors' does.

    Version 1.2 divides by a scale that is meant to be multiplied with, and ignores the one that it is given
    (`models/utils/attention.py`, `scaled_dot_product_attention_pyimpl`).
    """
    tokens = network.tokens_to_token
    for layer in (tokens.attention1, tokens.attention2, *network.encoder):
        attention = layer.attn
        width = attention.input_dims if attention.v_shortcut else attention.head_dims
        attention.scaled_dot_product_attention = partial(attention.scaled_dot_product_attention.func, scale=sqrt(width))
