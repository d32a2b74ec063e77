"""Backbones as encoders of MONAI's FlexibleUNet.

    from mmvit.monai import register
    net = FlexibleUNet(in_channels=3, out_channels=2, backbone=register("van_b0", "mmvit://van_b0"))

FlexibleUNet asks for maps from stride 2 on. These backbones begin at 4, so that its decoder gets a map without channels at
stride 2, as segmentation_models_pytorch gives its Unet.
"""

from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import torch
from monai.networks.blocks import BaseEncoder
from monai.networks.nets import FLEXUNET_BACKBONE
from torch import Tensor, nn

from ..errors import InputError
from ..pyramid import STRIDES
from ..zoo import create, find


class PyramidEncoder(nn.Module, BaseEncoder):
    """Backbone with MONAI's interface of encoders; `register` makes a subclass for each that is asked for."""

    known_as: ClassVar[str]
    channels: ClassVar[tuple[int, ...]]
    options: ClassVar[dict[str, Any]]

    def __init__(self, spatial_dims: int, in_channels: int, pretrained: bool, **options: Any) -> None:
        super().__init__()
        if spatial_dims != 2 or pretrained:
            raise InputError(
                f"spatial_dims={spatial_dims}, pretrained={pretrained}: expected 2 and False; weights are register's checkpoint"
            )
        self.backbone = create(**options, in_channels=in_channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return maps of stride 2 (without channels), 4, 8, 16 and 32 of images (B, C, H, W).

        Raises:
            InputError: a side is no multiple of 32: the decoder doubles sides.
        """
        if any(side % STRIDES[-1] for side in images.shape[2:]):
            raise InputError(f"images of {tuple(images.shape[2:])} pixels: FlexibleUNet takes sides that are multiples of 32")
        empty = images.new_zeros(len(images), 0, images.shape[2] // 2, images.shape[3] // 2)
        return [empty, *self.backbone(images)]

    @classmethod
    def get_encoder_names(cls) -> list[str]:
        return [cls.known_as]

    @classmethod
    def num_outputs(cls) -> list[int]:
        return [len(cls.channels)]

    @classmethod
    def num_channels_per_output(cls) -> list[tuple[int, ...]]:
        return [cls.channels]

    @classmethod
    def get_encoder_parameters(cls) -> list[dict[str, Any]]:
        return [dict(spatial_dims=2, in_channels=3, pretrained=False, **cls.options)]


def register(name: str, checkpoint: str | Path | None = None, **options: Any) -> str:
    """Register a backbone with FlexibleUNet, and return what to give it as `backbone`.

    Args:
        name: one of `mmvit.list_archs()`.
        checkpoint: weights, as `mmvit.create` takes them.
        options: options of the backbone, such as drop_path_rate.

    Raises:
        InputError: there is no such backbone.
    """
    family, arch = find(name)
    with torch.device("meta"):
        channels = family(arch).out_channels  # type: ignore[arg-type]  # every family takes arch first
    taken = FLEXUNET_BACKBONE.register_dict
    key = next(key for number in count(1) if (key := f"mmvit_{name}" + (f"_{number}" if number > 1 else "")) not in taken)
    own = dict(known_as=key, channels=(0, *channels), options=dict(options, name=name, checkpoint=checkpoint))
    FLEXUNET_BACKBONE.register_class(type("Encoder", (PyramidEncoder,), own))
    return key
