"""Layouts of transformers' `PvtV2`, `Pvt` and `Van`, below `pvt_v2.encoder.`, `pvt.encoder.` and `van.encoder.`."""

from .layout import Layout
from .rules import Rule

EPS = 1e-6  # eps of all layer norms

PVT_V2 = (
    Rule("layers.{s}.patch_embedding.proj.{p}", "stages.{s}.patch_embed.proj.{p}"),
    Rule("layers.{s}.patch_embedding.layer_norm.{p}", "stages.{s}.patch_embed.norm.{p}"),
    Rule("layers.{s}.layer_norm.{p}", "stages.{s}.norm.{p}"),
    Rule("layers.{s}.blocks.{b}.layer_norm_1.{p}", "stages.{s}.blocks.{b}.norm1.{p}"),
    Rule("layers.{s}.blocks.{b}.layer_norm_2.{p}", "stages.{s}.blocks.{b}.norm2.{p}"),
    Rule("layers.{s}.blocks.{b}.attention.query.{p}", "stages.{s}.blocks.{b}.attn.q.{p}"),
    Rule(
        {"layers.{s}.blocks.{b}.attention.key.{p}": 1, "layers.{s}.blocks.{b}.attention.value.{p}": 1},
        "stages.{s}.blocks.{b}.attn.kv.{p}",
    ),
    Rule("layers.{s}.blocks.{b}.attention.proj.{p}", "stages.{s}.blocks.{b}.attn.proj.{p}"),
    Rule("layers.{s}.blocks.{b}.attention.spatial_reduction.{p}", "stages.{s}.blocks.{b}.attn.sr.{p}"),
    Rule("layers.{s}.blocks.{b}.attention.layer_norm.{p}", "stages.{s}.blocks.{b}.attn.norm.{p}"),
    Rule("layers.{s}.blocks.{b}.mlp.dense1.{p}", "stages.{s}.blocks.{b}.mlp.fc1.{p}"),
    Rule("layers.{s}.blocks.{b}.mlp.dwconv.dwconv.{p}", "stages.{s}.blocks.{b}.mlp.dwconv.{p}"),
    Rule("layers.{s}.blocks.{b}.mlp.dense2.{p}", "stages.{s}.blocks.{b}.mlp.fc2.{p}"),
)
PVT = (
    Rule("patch_embeddings.{s}.projection.{p}", "stages.{s}.patch_embed.proj.{p}"),
    Rule("patch_embeddings.{s}.layer_norm.{p}", "stages.{s}.patch_embed.norm.{p}"),
    Rule("patch_embeddings.{s}.position_embeddings", "stages.{s}.pos_embed"),
    Rule("block.{s}.{b}.layer_norm_1.{p}", "stages.{s}.blocks.{b}.norm1.{p}"),
    Rule("block.{s}.{b}.layer_norm_2.{p}", "stages.{s}.blocks.{b}.norm2.{p}"),
    Rule("block.{s}.{b}.attention.self.query.{p}", "stages.{s}.blocks.{b}.attn.q.{p}"),
    Rule(
        {"block.{s}.{b}.attention.self.key.{p}": 1, "block.{s}.{b}.attention.self.value.{p}": 1},
        "stages.{s}.blocks.{b}.attn.kv.{p}",
    ),
    Rule("block.{s}.{b}.attention.self.sequence_reduction.{p}", "stages.{s}.blocks.{b}.attn.sr.{p}"),
    Rule("block.{s}.{b}.attention.self.layer_norm.{p}", "stages.{s}.blocks.{b}.attn.norm.{p}"),
    Rule("block.{s}.{b}.attention.output.dense.{p}", "stages.{s}.blocks.{b}.attn.proj.{p}"),
    Rule("block.{s}.{b}.mlp.dense1.{p}", "stages.{s}.blocks.{b}.mlp.fc1.{p}"),
    Rule("block.{s}.{b}.mlp.dense2.{p}", "stages.{s}.blocks.{b}.mlp.fc2.{p}"),
)
VAN = (
    Rule("stages.{s}.embeddings.convolution.{p}", "stages.{s}.patch_embed.proj.{p}"),
    Rule("stages.{s}.embeddings.normalization.{*}", "stages.{s}.patch_embed.norm.{*}"),
    Rule("stages.{s}.normalization.{p}", "stages.{s}.norm.{p}"),
    Rule("stages.{s}.layers.{b}.pre_normomalization.{*}", "stages.{s}.blocks.{b}.norm1.{*}"),
    Rule("stages.{s}.layers.{b}.post_normalization.{*}", "stages.{s}.blocks.{b}.norm2.{*}"),
    Rule("stages.{s}.layers.{b}.attention.pre_projection.conv.{p}", "stages.{s}.blocks.{b}.attn.proj_1.{p}"),
    Rule(
        "stages.{s}.layers.{b}.attention.attention_layer.attention.depth_wise.{p}",
        "stages.{s}.blocks.{b}.attn.spatial_gating_unit.conv0.{p}",
    ),
    Rule(
        "stages.{s}.layers.{b}.attention.attention_layer.attention.depth_wise_dilated.{p}",
        "stages.{s}.blocks.{b}.attn.spatial_gating_unit.conv_spatial.{p}",
    ),
    Rule(
        "stages.{s}.layers.{b}.attention.attention_layer.attention.point_wise.{p}",
        "stages.{s}.blocks.{b}.attn.spatial_gating_unit.conv1.{p}",
    ),
    Rule("stages.{s}.layers.{b}.attention.post_projection.{p}", "stages.{s}.blocks.{b}.attn.proj_2.{p}"),
    Rule("stages.{s}.layers.{b}.attention_scaling.weight", "stages.{s}.blocks.{b}.layer_scale_1"),
    Rule("stages.{s}.layers.{b}.mlp_scaling.weight", "stages.{s}.blocks.{b}.layer_scale_2"),
    Rule("stages.{s}.layers.{b}.mlp.in_dense.{p}", "stages.{s}.blocks.{b}.mlp.fc1.{p}"),
    Rule("stages.{s}.layers.{b}.mlp.depth_wise.{p}", "stages.{s}.blocks.{b}.mlp.dwconv.{p}"),
    Rule("stages.{s}.layers.{b}.mlp.out_dense.{p}", "stages.{s}.blocks.{b}.mlp.fc2.{p}"),
)

HUGGINGFACE = (
    Layout("huggingface", "pvt_v2", r"layers\.\d\.patch_embedding\.", PVT_V2, eps=EPS),
    Layout("huggingface", "pvt", r"patch_embeddings\.\d\.", PVT, r"patch_embeddings\.\d\.cls_token|layer_norm\..*", eps=EPS),
    Layout("huggingface", "van", r"stages\.\d\.embeddings\.", VAN, eps=EPS),
)
