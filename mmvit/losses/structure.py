"""Structure loss of binary segmentation (Wei et al., F3Net, arXiv 1911.11445): hard pixels weigh up to six times as much.

A pixel is hard if its neighbourhood of 31 x 31 differs from it: borders, thin parts, holes.

Differences from the authors' code: there an option of PyTorch's that was renamed averages the cross entropy before it is
weighted, so that its weights cancel; here pixels are weighted, as in the paper. Ignored pixels have no weight.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..registry import MODELS

AROUND = 31  # pixels, side of the neighbourhood
HARDER = 5  # weight that the hardest pixels have in addition


def structure_loss(logits: Tensor, labels: Tensor, ignore_index: int = 255) -> Tensor:
    """Return the weighted cross entropy plus the weighted IoU loss, averaged over the images.

    Args:
        logits: (B, 1, H, W).
        labels: (B, H, W), 0 or 1, or `ignore_index`.
    """
    seen = (labels != ignore_index).unsqueeze(1).to(logits.dtype)
    truth = (labels == 1).unsqueeze(1).to(logits.dtype)
    around = F.avg_pool2d(truth, AROUND, stride=1, padding=AROUND // 2)
    weights = (1 + HARDER * (around - truth).abs()) * seen
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    entropy = (weights * entropy).sum((2, 3)) / weights.sum((2, 3)).clamp(min=1)
    found = logits.sigmoid()
    shared = (weights * found * truth).sum((2, 3))
    both = (weights * (found + truth)).sum((2, 3)) - shared
    return (entropy + 1 - (shared + 1) / (both + 1)).mean()


@MODELS.register_module()
class StructureLoss(nn.Module):
    """The structure loss for a head with one channel, with the arguments of mmseg's losses."""

    def __init__(self, loss_weight: float = 1.0, loss_name: str = "loss_structure") -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.loss_name = loss_name  # losses are the parts whose names begin with `loss`

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = 255,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Return the loss of logits (B, 1, H, W) and labels (B, H, W).

        Raises:
            ValueError: several channels, weights of a pixel sampler, which the loss would forget, or its question for the loss
                of each pixel.
        """
        if cls_score.shape[1] != 1:
            raise ValueError(f"StructureLoss: {cls_score.shape[1]} channels, expected one: num_classes=2, out_channels=1")
        if weight is not None or reduction_override is not None:
            raise ValueError("StructureLoss weighs pixels itself and works with no sampler")
        with torch.autocast(cls_score.device.type, enabled=False):  # sums over an image exceed float16
            return self.loss_weight * structure_loss(cls_score.float(), label, ignore_index)
