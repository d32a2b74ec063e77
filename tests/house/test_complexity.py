"""Costs are the published ones, and the table in docs/archs.md is what `python -m mmvit list --markdown` prints."""

import pytest
import torch
from families import BY_NAME
from makers import HOME, tiers

from mmvit.commands.listing import markdown
from mmvit.complexity import complexity
from mmvit.zoo import list_archs

PAGE = HOME / "docs" / "archs.md"
# GFLOPs (multiply-adds) at 224 of whole classifiers, as the papers and the authors' READMEs have them.
PUBLISHED = {
    "PVT": dict(tiny=1.9, small=3.8, medium=6.7, large=9.8),
    "PVTv2": dict(b0=0.6, b1=2.1, b2_li=3.9, b2=4.0, b3=6.9, b4=10.1, b5=11.8),
    "VOLO": dict(d1=6.8, d2=14.1, d3=20.6, d4=43.8),
    "T2TViT": {"7": 1.1, "10": 1.5, "12": 1.8, "14": 4.8, "19": 8.5, "24": 13.8, "t_14": 6.1, "t_19": 9.8, "t_24": 15.0},
    "VAN": dict(b0=0.9, b1=2.5, b2=5.0, b3=9.0, b4=12.2, b5=17.2, b6=38.4),
}


ARCHS = [(name, arch) for name, archs in PUBLISHED.items() for arch in archs]


@pytest.mark.parametrize("model", tiers(ARCHS, lambda model: model[1] == BY_NAME[model[0]].kind.record.small, "-".join))
def test_multiply_adds_are_the_published(model: tuple[str, str]) -> None:
    family, arch = BY_NAME[model[0]], model[1]
    with torch.device("meta"):
        counted = complexity(family.build(arch, **family.bare), 224, 224).multiply_adds / 1e9
    assert counted == pytest.approx(PUBLISHED[family.name][arch], abs=0.06, rel=0.015)


@pytest.mark.slow
def test_the_page_has_the_table_of_archs() -> None:
    table = "\n".join(markdown(list_archs()))
    assert table in PAGE.read_text(), "run: python -m mmvit list --markdown"
