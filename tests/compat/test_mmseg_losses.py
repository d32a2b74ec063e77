"""mmseg's losses with weights of classes and ignored pixels, against torch's and torchvision's own functions."""

from typing import Any

import pytest
import torch
from mmengine.registry import MODELS
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

import mmvit  # noqa: F401

pytest.importorskip("mmseg.models")

pytestmark = pytest.mark.stack

IGNORED, CLASSES = 255, 3
WEIGHTS = [0.5, 1.0, 4.0]


@pytest.fixture
def case() -> tuple[Tensor, Tensor, Tensor]:
    """Logits (2, 3, 5, 7), labels (2, 5, 7) of which some are ignored, and the pixels that count."""
    torch.manual_seed(0)
    labels = torch.randint(CLASSES, (2, 5, 7))
    labels[torch.rand(labels.shape) < 0.2] = IGNORED
    return torch.randn(2, CLASSES, 5, 7, requires_grad=True), labels, labels != IGNORED


def _loss(pred: Tensor, labels: Tensor, **options: Any) -> Tensor:
    return MODELS.build(dict({"type": "mmseg.CrossEntropyLoss"} | options))(pred, labels, weight=None, ignore_index=IGNORED)


def _same(ours: Tensor, theirs: Tensor, pred: Tensor) -> None:
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, pred, retain_graph=True)[0] for loss in (ours, theirs)))


@pytest.mark.parametrize("avg_non_ignore", [False, True])
def test_softmax_with_weights(case: tuple[Tensor, Tensor, Tensor], avg_non_ignore: bool) -> None:
    pred, labels, _ = case
    expected = functional.cross_entropy(pred, labels, torch.tensor(WEIGHTS), ignore_index=IGNORED)
    _same(_loss(pred, labels, class_weight=WEIGHTS, avg_non_ignore=avg_non_ignore), expected, pred)


def test_softmax_where_nothing_counts() -> None:
    pred, labels = torch.randn(1, CLASSES, 4, 4), torch.full((1, 4, 4), IGNORED)
    assert _loss(pred, labels, class_weight=WEIGHTS).item() == 0


def test_a_label_without_class_stays_an_error() -> None:
    with pytest.raises(IndexError, match="Target 7 is out of bounds"):
        _loss(torch.randn(1, CLASSES, 4, 4), torch.full((1, 4, 4), 7), class_weight=WEIGHTS)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_sigmoid_with_weights(case: tuple[Tensor, Tensor, Tensor], weights: list[float] | None) -> None:
    pred, labels, valid = case
    hot = functional.one_hot(labels * valid, CLASSES).movedim(-1, 1).float()
    factors = torch.tensor(weights or [1.0] * CLASSES).view(-1, 1, 1)
    every = functional.binary_cross_entropy_with_logits(pred, hot, pos_weight=factors, reduction="none") * valid[:, None]
    options = dict(use_sigmoid=True, avg_non_ignore=True, class_weight=weights)
    _same(_loss(pred, labels, **options), every.sum() / (CLASSES * valid.sum()), pred)


def test_sigmoid_of_one_channel() -> None:
    pred, labels = torch.randn(2, 1, 4, 4), torch.randint(2, (2, 4, 4))
    expected = functional.binary_cross_entropy_with_logits(pred[:, 0], labels.float(), pos_weight=torch.tensor([3.0]))
    torch.testing.assert_close(_loss(pred, labels, use_sigmoid=True, class_weight=[3.0]), expected)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_focal_loss(case: tuple[Tensor, Tensor, Tensor], weights: list[float] | None) -> None:
    pred, labels, valid = case
    hot = functional.one_hot(labels * valid, CLASSES).movedim(-1, 1).float()
    every = (
        sigmoid_focal_loss(pred, hot, alpha=0.5, gamma=2.0)
        * valid[:, None]
        * torch.tensor(weights or [1.0] * CLASSES).view(-1, 1, 1)
    )
    _same(_loss(pred, labels, type="mmseg.FocalLoss", class_weight=weights), every.mean(), pred)


def test_focal_loss_with_weights_of_pixels(case: tuple[Tensor, Tensor, Tensor]) -> None:
    pred, labels, valid = case
    loss, pixels = MODELS.build(dict(type="mmseg.FocalLoss")), torch.rand(labels.shape)
    hot = functional.one_hot(labels * valid, CLASSES).movedim(-1, 1).float()
    every = sigmoid_focal_loss(pred, hot, alpha=0.5, gamma=2.0) * (valid * pixels)[:, None]
    _same(loss(pred, labels, weight=pixels, ignore_index=IGNORED), every.mean(), pred)
