"""A backbone of this package as detectron2's `Backbone`, for its feature pyramids, detectors and lazy configs.

    from mmvit.detectron2 import PyramidBackbone
    model.backbone.bottom_up = LazyCall(PyramidBackbone)(name="van_b2", checkpoint="mmvit://van_b2")

The maps have the names of detectron2's ResNet, res2 (stride 4) to res5 (stride 32), which its configs ask for.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import Backbone
from torch import Tensor

from ..errors import InputError
from ..zoo import create

FEATURES = ("res2", "res3", "res4", "res5")


class PyramidBackbone(Backbone):
    """Backbone by name, with detectron2's interface.

    Args:
        name: one of `mmvit.list_archs()`.
        out_features: names of the maps to return, of res2, res3, res4, res5, finest first.
        checkpoint: weights, as `mmvit.create` takes them, such as `mmvit://van_b2`.
        options: options of the backbone, such as drop_path_rate, frozen_stages, in_channels.

    Raises:
        InputError: no such name, map or option.
        CheckpointError: the weights are not available, or do not fit exactly.
    """

    def __init__(
        self, name: str, out_features: Iterable[str] = FEATURES, checkpoint: str | Path | None = None, **options: Any
    ) -> None:
        super().__init__()
        self.out_features = tuple(out_features)
        if unknown := [feature for feature in self.out_features if feature not in FEATURES]:
            raise InputError(
                f"out_features: there is no {', '.join(unknown)}; expected a rising choice of {', '.join(FEATURES)}"
            )
        levels = tuple(FEATURES.index(feature) for feature in self.out_features)
        self.body = create(name, checkpoint, out_indices=levels, **options)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the maps of images (B, in_channels, H, W) by name."""
        return dict(zip(self.out_features, self.body(images), strict=True))

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Return channels and stride of each map."""
        shapes = zip(self.out_features, self.body.out_channels, self.body.out_strides, strict=True)
        return {name: ShapeSpec(channels=channels, stride=stride) for name, channels, stride in shapes}
