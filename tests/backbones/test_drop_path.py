"""Stochastic depth: rates that rise over the blocks, and both branches of a block that obey them."""

import pytest
import torch
from families import Family
from makers import each_family
from timm.layers import DropPath
from torch import nn

WITHOUT = {"VOLO": 2}  # leading blocks: its outlookers, as in the authors' code


def built(family: Family) -> tuple[nn.Module, list[nn.Module]]:
    """Return a model of random weights, and its blocks in order."""
    model = family.initialised(drop_path_rate=0.3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layer_scale" in name:
                parameter.fill_(1.0)
    return model, [layer.block for layer in model.layers() if layer.block is not None]


@each_family
def test_rates_rise_to_the_last_block(family: Family) -> None:
    _, blocks = built(family)
    rates = [block.drop_path.drop_prob if hasattr(block, "drop_path") else None for block in blocks]
    expected = [0.3 * number / (len(blocks) - 1) for number in range(len(blocks))]
    without = rates.count(None)
    assert rates[:without] == [None] * without
    assert rates[without:] == pytest.approx(expected[without:])
    assert without == WITHOUT.get(family.name, 0)


@each_family
def test_a_dropped_block_changes_nothing(family: Family) -> None:
    """With a rate of 1, both branches of all blocks are dropped in training, and none in evaluation."""
    model, blocks = built(family)
    unchanged = []
    for block in blocks:
        if hasattr(block, "drop_path"):
            block.register_forward_hook(lambda _, given, found: unchanged.append(torch.equal(given[0], found)))
    for module in model.modules():
        if isinstance(module, DropPath):
            module.drop_prob = 1.0
    images = torch.randn(2, 3, 64, 96)
    model.train()(images)
    assert unchanged == [True] * len(unchanged)
    unchanged.clear()
    model.eval()(images)
    assert unchanged == [False] * len(unchanged)
    assert unchanged
