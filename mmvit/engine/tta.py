"""Test-time augmentation of what mmdet's and mmseg's do not support: instance masks, and segmenters with one channel.

They are no subclasses of theirs: modules that a registry imports must not need mmdet, which segmenters do not have.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmengine.model import BaseTTAModel
from mmengine.structures import InstanceData, PixelData

from ..registry import MODELS

if TYPE_CHECKING:
    from mmdet.structures import DetDataSample

AXES = {"horizontal": (-1,), "vertical": (-2,), "diagonal": (-2, -1)}  # axes of a mask that a flip reverses


@MODELS.register_module()
class InstanceTTAModel(BaseTTAModel):
    """Model that joins a detector's results on several views of an image, sizes and flips, by non-maximum suppression.

    Boxes, scores and labels are those of `DetTTAModel`; a surviving box keeps the mask of its view.

    Args:
        tta_cfg: `nms`, as mmcv's `batched_nms` takes it, and `max_per_img`, the largest number of instances of an image.
        options: `module`, the detector, which predicts at the image's own size, as mmdet's do by default.
    """

    def __init__(self, tta_cfg: Mapping[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self.tta_cfg = tta_cfg

    def merge_preds(self, data_samples_list: Sequence[Sequence["DetDataSample"]]) -> list["DetDataSample"]:
        """Return one sample an image: its first view's, with the predictions of all views (an inner list each)."""
        return [self._merge(views) for views in data_samples_list]

    def _merge(self, views: Sequence["DetDataSample"]) -> "DetDataSample":
        from mmcv.ops import batched_nms

        found = InstanceData.cat([turned_back(view) for view in views])
        if len(found):
            most = self.tta_cfg["max_per_img"]
            boxes, kept = batched_nms(found.bboxes, found.scores, found.labels, self.tta_cfg["nms"])
            found = found[kept[:most]]
            found.bboxes, found.scores = boxes[:most, :4], boxes[:most, 4]  # soft suppression lowers scores
        merged = views[0]
        merged.pred_instances = found
        return merged


def turned_back(view: "DetDataSample") -> InstanceData:
    """Return a view's predictions in the image's coordinates: boxes (N, 4), and masks (N, H, W) if it has them."""
    from mmdet.structures.bbox import bbox_flip

    found = view.pred_instances
    if not view.get("flip"):
        return found
    turned = dict(found.items(), bboxes=bbox_flip(found.bboxes, view.ori_shape, view.flip_direction))
    if "masks" in found:
        turned["masks"] = found.masks.flip(AXES[view.flip_direction])
    return found.new(**turned)


@MODELS.register_module()
class SegTTAModel(BaseTTAModel):
    """mmseg's `SegTTAModel`, right for heads with one channel.

    Their scores are probabilities already. mmseg takes the sigmoid of them once more, which is never below 0.5: every pixel
    becomes foreground.
    """

    def merge_preds(self, data_samples_list: Sequence[Sequence[Any]]) -> list[Any]:
        """Return one sample an image: its last view's, with the mean of the probabilities of all views (an inner list each)."""
        return [self._merge(views) for views in data_samples_list]

    def _merge(self, views: Sequence[Any]) -> Any:
        single = self.module.out_channels == 1
        mean = sum(view.seg_logits.data if single else view.seg_logits.data.softmax(dim=0) for view in views) / len(views)
        merged = views[-1]
        labels = (mean > self.module.decode_head.threshold).long() if single else mean.argmax(dim=0, keepdim=True)
        scores = mean if single else mean.log()  # logits, of which a softmax gives the mean again
        merged.set_data(dict(seg_logits=PixelData(data=scores), pred_sem_seg=PixelData(data=labels)))
        if "gt_sem_seg" in views[0]:
            merged.gt_sem_seg = views[0].gt_sem_seg
        merged.set_metainfo(dict(img_path=views[0].img_path))
        return merged
