"""The structure loss beside its formula, pixel by pixel."""

from math import exp, log

import pytest
import torch
from mmengine.registry import MODELS

from mmvit.losses.structure import structure_loss


def by_hand(logits: list[list[float]], labels: list[list[int]]) -> float:
    """One image, written out: sums over pixels, and over the 31 x 31 pixels around each, of which those outside are 0."""
    rows, columns = len(labels), len(labels[0])
    weights, entropies, shared, both = 0.0, 0.0, 0.0, 0.0
    for y in range(rows):
        for x in range(columns):
            if labels[y][x] == 255:
                continue
            near = [
                labels[j][i] == 1
                for j in range(max(0, y - 15), min(rows, y + 16))
                for i in range(max(0, x - 15), min(columns, x + 16))
            ]
            truth = labels[y][x]
            weight = 1 + 5 * abs(sum(near) / 31**2 - truth)
            found = 1 / (1 + exp(-logits[y][x]))
            weights += weight
            entropies -= weight * (truth * log(found) + (1 - truth) * log(1 - found))
            shared += weight * truth * found
            both += weight * (truth + found)
    return entropies / weights + 1 - (shared + 1) / (both - shared + 1)


def test_it_is_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(2, 1, 40, 36, generator=generator)
    labels = torch.zeros(2, 40, 36, dtype=torch.long)
    labels[0, 5:30, 8:20] = 1
    labels[1, 2:9] = 1
    labels[1, 20:22] = 255
    expected = sum(by_hand(logits[index, 0].tolist(), labels[index].tolist()) for index in range(2)) / 2
    assert structure_loss(logits, labels).item() == pytest.approx(expected, rel=1e-5)


def test_perfect_costs_least_and_inverted_most() -> None:
    labels = torch.zeros(1, 32, 32, dtype=torch.long)
    labels[:, 8:24, 8:24] = 1
    right = 20.0 * (2 * labels.unsqueeze(1) - 1)
    costs = [structure_loss(scale * right, labels).item() for scale in (1, 0, -1)]
    assert costs[0] < 0.01
    assert costs == sorted(costs)
    assert costs[2] > 10


def test_ignored_pixels_have_no_gradient() -> None:
    logits = torch.zeros(1, 1, 8, 8, requires_grad=True)
    labels = torch.ones(1, 8, 8, dtype=torch.long)
    labels[:, :4] = 255
    structure_loss(logits, labels).backward()
    assert (logits.grad[0, 0, :4] == 0).all()
    assert (logits.grad[0, 0, 4:] < 0).all()


def test_a_config_finds_it_and_wrong_heads_are_told() -> None:
    loss = MODELS.build(dict(type="mmvit.StructureLoss", loss_weight=0.4))
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    logits = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert loss(logits, labels, weight=None, ignore_index=255).item() == pytest.approx(
        0.4 * structure_loss(logits, labels).item()
    )
    with pytest.raises(ValueError, match="2 channels, expected one: num_classes=2, out_channels=1"):
        loss(logits.repeat(1, 2, 1, 1), labels)
    for options in (dict(weight=torch.ones(1, 8, 8)), dict(reduction_override="none")):
        with pytest.raises(ValueError, match="weighs pixels itself and works with no sampler"):
            loss(logits, labels, **options)
