"""Backbones for lightly-train, which pre-trains and distils on a user's own pictures without labels.

    lightly_train.pretrain(out="out", data="pictures", model=Encoder("van_b0"), method="dino")

It asks for a protocol, so that nothing of it is imported here. Its exported file loads in `mmvit.create`, exactly.
"""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..pyramid import Pyramid
from ..zoo import create


class Encoder(nn.Module):
    """Backbone by name, with lightly-train's `ModelWrapper` protocol: it learns from the last map.

    Args:
        name: one of `mmvit.list_archs()`.
        checkpoint: weights to start from, as `mmvit.create` takes them.
        options: options of the backbone, such as drop_path_rate.
    """

    def __init__(self, name: str, checkpoint: str | Path | None = None, **options: Any) -> None:
        super().__init__()
        self.backbone = create(name, checkpoint, out_indices=(3,), **options)

    def forward_features(self, x: Tensor) -> dict[str, Tensor]:
        """Return the last map (B, C, H / 32, W / 32) of images (B, 3, H, W)."""
        return dict(features=self.backbone(x)[-1])

    def forward_pool(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the average (B, C, 1, 1) of a map."""
        return dict(pooled_features=x["features"].mean((2, 3), keepdim=True))

    def feature_dim(self) -> int:
        """Return the channels of the last map."""
        return self.backbone.out_channels[-1]

    def get_model(self) -> Pyramid:
        """Return what is exported: the backbone."""
        return self.backbone
