"""Layouts of mmdet's PVT and PVTv2, and of mmpretrain's VAN and T2T-ViT. Mmseg's projects/van uses the authors' names."""

from .layout import Layout
from .rules import Rule


def mmdet(first: str, last_layer: int) -> tuple[Rule, ...]:
    """Return the rules of mmdet's PVT, which counts blocks from `first`: a position table may be the first layer of a stage."""
    block = f"layers.{{s}}.1.{first}"
    ours = "stages.{s}.blocks.{b}"
    return (
        Rule("layers.{s}.0.projection.{p}", "stages.{s}.patch_embed.proj.{p}"),
        Rule("layers.{s}.0.norm.{p}", "stages.{s}.patch_embed.norm.{p}"),
        Rule("layers.{s}.2.{p}", "stages.{s}.norm.{p}"),
        Rule("layers.{s}.1.0.pos_embed", "stages.{s}.pos_embed", table=True),
        Rule(f"{block}.norm1.{{p}}", f"{ours}.norm1.{{p}}"),
        Rule(f"{block}.norm2.{{p}}", f"{ours}.norm2.{{p}}"),
        Rule(f"{block}.attn.attn.in_proj_{{p}}", {f"{ours}.attn.q.{{p}}": 1, f"{ours}.attn.kv.{{p}}": 2}),
        Rule(f"{block}.attn.attn.out_proj.{{p}}", f"{ours}.attn.proj.{{p}}"),
        Rule(f"{block}.attn.sr.{{p}}", f"{ours}.attn.sr.{{p}}"),
        Rule(f"{block}.attn.norm.{{p}}", f"{ours}.attn.norm.{{p}}"),
        Rule(f"{block}.ffn.layers.0.{{p}}", f"{ours}.mlp.fc1.{{p}}", pointwise=True),
        Rule(f"{block}.ffn.layers.1.{{p}}", f"{ours}.mlp.dwconv.{{p}}"),
        Rule(f"{block}.ffn.layers.{last_layer}.{{p}}", f"{ours}.mlp.fc2.{{p}}", pointwise=True),
    )


VAN = (
    Rule("patch_embed{s+1}.projection.{p}", "stages.{s}.patch_embed.proj.{p}"),
    Rule("patch_embed{s+1}.norm.{*}", "stages.{s}.patch_embed.norm.{*}"),
    Rule("blocks{s+1}.{b}.attn.spatial_gating_unit.DW_conv.{p}", "stages.{s}.blocks.{b}.attn.spatial_gating_unit.conv0.{p}"),
    Rule(
        "blocks{s+1}.{b}.attn.spatial_gating_unit.DW_D_conv.{p}",
        "stages.{s}.blocks.{b}.attn.spatial_gating_unit.conv_spatial.{p}",
    ),
    Rule("blocks{s+1}.{b}.{*}", "stages.{s}.blocks.{b}.{*}"),
    Rule("norm{s+1}.{p}", "stages.{s}.norm.{p}"),
)
T2T = (
    *(
        Rule(f"{theirs}.{old}.{{p}}", f"{ours}.{new}.{{p}}")
        for theirs, ours in (("encoder.{b}", "blocks.{b}"), *[(f"tokens_to_token.attention{n}",) * 2 for n in (1, 2)])
        for old, new in (("ln1", "norm1"), ("ln2", "norm2"), ("ffn.layers.0.0", "mlp.fc1"), ("ffn.layers.1", "mlp.fc2"))
    ),
    Rule("encoder.{b}.{*}", "blocks.{b}.{*}"),
    Rule("tokens_to_token.{*}", "tokens_to_token.{*}"),
    Rule("cls_token", "embedding.cls_token"),
    Rule("pos_embed", "embedding.pos_embed"),
    Rule("norm.{p}", "taps.3.norm.{p}"),
)

MMDET = (
    Layout("mmdet", "pvt", r"layers\.\d\.0\.projection\.", mmdet("{b+1}", 3), eps=1e-6),
    Layout("mmdet", "pvt_v2", r"layers\.\d\.0\.projection\.", mmdet("{b}", 4), eps=1e-6),
)
MMPRETRAIN = (
    Layout("mmpretrain", "van", r"patch_embed[1-4]\.projection\.|blocks[1-4]\.", VAN),
    Layout("mmpretrain", "t2t_vit", r"encoder\.\d+\.ln1\.", T2T),
)
