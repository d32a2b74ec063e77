"""Encoder-decoders of mmsegmentation."""

from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.pooling import replace_pooling
from .preprocessing import Preprocessing


class Enlarge(nn.Module):
    """Bilinear enlargement by a whole factor. mmseg's `Upsample` rounds the size in Python, which fixes it in a program."""

    def __init__(self, factor: int, align_corners: bool | None) -> None:
        super().__init__()
        self.factor, self.align_corners = factor, align_corners

    def forward(self, maps: Tensor) -> Tensor:
        size = [side * self.factor for side in maps.shape[2:]]
        return F.interpolate(maps, size=size, mode="bilinear", align_corners=self.align_corners)


def for_any_size(model: nn.Module) -> nn.Module:
    """Return a copy of a model without the layers that would fix the size of the images in a program."""
    from mmseg.models.utils import Upsample

    copied = deepcopy(model)
    for parent in list(copied.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Upsample) and not child.size and child.mode == "bilinear" and child.scale_factor % 1 == 0:
                setattr(parent, name, Enlarge(int(child.scale_factor), child.align_corners))
    replace_pooling(copied)
    return copied


class Segmenter(nn.Module):
    """A copy of mmseg's `EncoderDecoder` in eval mode, tested on whole images, from picture to the class of each pixel."""

    inputs = ("image", "size")
    outputs = ("label_map",)

    def __init__(self, model: Any, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.model: Any = for_any_size(model)
        self.preprocessing = preprocessing

    def forward(self, image: Tensor, size: Tensor) -> Tensor:
        """Return the label map (1, *size) int64 of a (1, H, W, 3) picture; `size` (2,) int64 is that of the original."""
        height, width = image.shape[1:3]
        head = self.model.decode_head
        pixels = self.preprocessing(image)
        scores = head(self.model.extract_feat(pixels))
        scores = F.interpolate(scores, size=pixels.shape[2:], mode="bilinear", align_corners=head.align_corners)
        rows, columns = size.tolist()
        torch._check(rows >= 2)
        torch._check(columns >= 2)
        scores = scores[:, :, :height, :width]
        scores = F.interpolate(scores, size=(rows, columns), mode="bilinear", align_corners=head.align_corners)
        if scores.shape[1] == 1:
            return (scores[:, 0].sigmoid() > head.threshold).to(torch.int64)
        return scores.argmax(dim=1)


class Backbone(nn.Module):
    """A backbone alone, from normalised pixels (B, 3, H, W) to its maps."""

    inputs = ("pixels",)

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone
        self.outputs = tuple(f"map{number}" for number in backbone.out_indices)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.backbone(pixels))
