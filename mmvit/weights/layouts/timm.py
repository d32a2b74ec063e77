"""Layouts of timm's `pvt_v2_*`. Its VOLO uses the authors' names."""

from .layout import Layout
from .rules import Rule

PVT_V2 = (
    Rule("patch_embed.{*}", "stages.0.patch_embed.{*}"),
    Rule("stages.{s}.downsample.{*}", "stages.{s}.patch_embed.{*}"),
    Rule("stages.{s}.{*}", "stages.{s}.{*}"),
    Rule("head.{p}", "head.{p}"),
)
FEATURES = (
    Rule("patch_embed.{*}", "stages.0.patch_embed.{*}"),
    Rule("stages_{s}.downsample.{*}", "stages.{s}.patch_embed.{*}"),
    Rule("stages_{s}.{*}", "stages.{s}.{*}"),
)

TIMM = (
    Layout("timm", "pvt_v2", r"patch_embed\.|stages\.\d\.downsample\.", PVT_V2),
    Layout("timm", "pvt_v2", r"stages_\d\.", FEATURES, version="features_only"),
)
