"""Preprocessing inside the exported program, from a picture to the input of a network."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Preprocessing(nn.Module):
    """The steps of mmdet's and mmseg's data preprocessors at test time, for pictures of one size.

    Args:
        settings: `data_preprocessor` of a config: mean, std, bgr_to_rgb, pad_size_divisor, pad_value; mmseg's test_cfg.
        channels: of the pictures.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, settings: dict[str, Any], channels: int = 3) -> None:
        super().__init__()
        test = settings.get("test_cfg") or {}
        self.swaps = bool(settings.get("bgr_to_rgb") or settings.get("rgb_to_bgr"))
        self.least = tuple(test.get("size") or (1, 1))
        self.multiple = int(settings.get("pad_size_divisor") or test.get("size_divisor") or 1)
        self.value = float(settings.get("pad_value", settings.get("pad_val", 0)))
        mean, std = settings.get("mean") or [0.0] * channels, settings.get("std") or [1.0] * channels
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, 3, h, w) float32 of a (B, H, W, 3) uint8 picture in BGR, or of bands; h and w are padded at the end."""
        pixels = image.permute(0, 3, 1, 2).to(torch.float32)
        pixels = pixels.flip(1) if self.swaps else pixels
        pixels = (pixels - self.mean) / self.std
        if self.multiple > 1:
            height, width = ((side + self.multiple - 1) // self.multiple * self.multiple - side for side in pixels.shape[2:])
            return F.pad(pixels, (0, width, 0, height), value=self.value)
        if self.least == (1, 1):
            return pixels
        height, width = (torch.sym_max(least - side, 0) for least, side in zip(self.least, pixels.shape[2:], strict=True))
        return F.pad(pixels, (0, width, 0, height), value=self.value)
