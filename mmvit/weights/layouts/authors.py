"""Layouts of the authors' files, and of ours."""

from .layout import Layout
from .rules import Rule

STAGES = (
    Rule("patch_embed{s+1}.{*}", "stages.{s}.patch_embed.{*}"),
    Rule("pos_embed{s+1}", "stages.{s}.pos_embed"),
    Rule("block{s+1}.{b}.mlp.dwconv.dwconv.{p}", "stages.{s}.blocks.{b}.mlp.dwconv.{p}"),
    Rule("block{s+1}.{b}.{*}", "stages.{s}.blocks.{b}.{*}"),
    Rule("norm{s+1}.{p}", "stages.{s}.norm.{p}"),
    Rule("head.{p}", "head.{p}"),
)
VOLO = (
    Rule("network.0.{b}.{*}", "stages.0.blocks.{b}.{*}"),
    Rule("pos_embed", "stages.1.downsample.pos_embed"),
    Rule("network.1.{*}", "stages.1.downsample.{*}"),
    *(Rule(f"network.{stage + 1}.{{b}}.{{*}}", f"stages.{stage}.blocks.{{b}}.{{*}}") for stage in (1, 2, 3)),
    Rule("norm.{p}", "taps.3.norm.{p}"),
    Rule("{*}", "{*}"),
)
T2T = (
    Rule("cls_token", "embedding.cls_token"),
    Rule("pos_embed", "embedding.pos_embed"),
    Rule("norm.{p}", "taps.3.norm.{p}"),
    Rule("{*}", "{*}"),
)

AUTHORS = (
    *(Layout("authors", family, r"(patch_embed|block)[1-4]\.", STAGES) for family in ("pvt", "pvt_v2", "shunted", "van")),
    Layout("authors", "volo", r"network\.", VOLO),
    Layout("authors", "t2t_vit", r"(cls_token|pos_embed)$", T2T),
)
SAME = (Rule("{*}", "{*}"),)
OURS = (
    *(Layout("mmvit", family, r"stages\.\d\.patch_embed\.", SAME) for family in ("pvt", "pvt_v2", "shunted", "van")),
    Layout("mmvit", "volo", r"stages\.\d\.", SAME),
    Layout("mmvit", "t2t_vit", r"embedding\.", SAME),
)
