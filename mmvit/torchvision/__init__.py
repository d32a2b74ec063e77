"""torchvision's detectors on a backbone of this package.

    from mmvit.torchvision import detector
    model = detector("van_b2", "mask_rcnn", num_classes=21, checkpoint="mmvit://van_b2")
    losses = model(images, targets)   # in training; lists of images (3, H, W) in 0 to 1 and of dicts of boxes, labels, masks
    results = model.eval()(images)

Everything but the backbone is torchvision's own: the pyramid neck, the heads, the resizing and normalisation of images, and the
counting of classes, in which 0 is the background.
"""

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, FeaturePyramidNetwork, LastLevelMaxPool, LastLevelP6P7

from ..errors import InputError, nearest
from ..pyramid import Pyramid
from ..zoo import create

CHANNELS = 256  # of the neck's maps


class Head(NamedTuple):
    """What a detector is made of: its class, the backbone's levels that it takes, and what makes its coarser levels."""

    build: type[nn.Module]
    out_indices: tuple[int, ...]
    coarser: Callable[[], ExtraFPNBlock]


def _p6_p7() -> ExtraFPNBlock:
    return LastLevelP6P7(CHANNELS, CHANNELS)


HEADS = {  # levels as in torchvision's own, on ResNet
    "faster_rcnn": Head(FasterRCNN, (0, 1, 2, 3), LastLevelMaxPool),
    "mask_rcnn": Head(MaskRCNN, (0, 1, 2, 3), LastLevelMaxPool),
    "retinanet": Head(RetinaNet, (1, 2, 3), _p6_p7),
    "fcos": Head(FCOS, (1, 2, 3), _p6_p7),
}


class PyramidWithFPN(nn.Module):
    """Backbone and feature pyramid network, as torchvision's detectors take them."""

    out_channels = CHANNELS  # of all maps

    def __init__(self, body: Pyramid, coarser: ExtraFPNBlock) -> None:
        super().__init__()
        self.body = body
        self.fpn = FeaturePyramidNetwork(list(body.out_channels), CHANNELS, coarser)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the maps of images (B, C, H, W) by name, finest first: the levels from "0" on, then coarser ones."""
        return self.fpn({str(index): level for index, level in enumerate(self.body(images))})


def _options_of(kind: type) -> list[str]:
    """Return the names of the options of a detector, of the detector it derives from, and of its resizing."""
    owners = (GeneralizedRCNNTransform, *(owner for owner in kind.__mro__ if owner in [head.build for head in HEADS.values()]))
    parameters = [parameter for owner in owners for parameter in signature(owner).parameters.values()]
    return list(dict.fromkeys(each.name for each in parameters if each.kind is not Parameter.VAR_KEYWORD))


def detector(
    name: str,
    head: str,
    num_classes: int,
    checkpoint: str | Path | None = None,
    backbone: Mapping[str, Any] | None = None,
    **options: Any,
) -> nn.Module:
    """Return a detector of torchvision on a backbone with a feature pyramid.

    Args:
        name: one of `mmvit.list_archs()`.
        head: mask_rcnn, faster_rcnn, retinanet or fcos.
        num_classes: with the background, as torchvision counts: labels are 1 to num_classes - 1.
        checkpoint: weights of the backbone, as `mmvit.create` takes them, such as `mmvit://van_b2`.
        backbone: options of the backbone, such as drop_path_rate, frozen_stages, with_cp, in_channels.
        options: options of torchvision's class, such as min_size, image_mean, box_score_thresh.

    Raises:
        InputError: no such backbone, head or option of the backbone, or other than 3 channels without mean and deviation.
        CheckpointError: the weights are not available, or do not fit exactly.
    """
    if head not in HEADS:
        raise InputError(f"no detector of torchvision is called {head!r}; {nearest(head, list(HEADS))}")
    own = dict(backbone or {})
    if "out_indices" in own:
        raise InputError(f"out_indices: {head} takes the levels {HEADS[head].out_indices}")
    if own.get("in_channels", 3) != 3 and not options.keys() >= {"image_mean", "image_std"}:
        raise InputError(f"in_channels={own['in_channels']} needs image_mean=[...] and image_std=[...] with as many numbers")
    taken = _options_of(HEADS[head].build)
    if unknown := [option for option in options if option not in taken]:
        raise InputError(
            f"{head} has no option {unknown[0]}, which torchvision would pass over; {nearest(unknown[0], taken, otherwise='')} "
            "weights of the backbone are checkpoint='mmvit://NAME'"
        )
    body = create(name, checkpoint, out_indices=HEADS[head].out_indices, **own)
    return HEADS[head].build(PyramidWithFPN(body, HEADS[head].coarser()), num_classes=num_classes, **options)
