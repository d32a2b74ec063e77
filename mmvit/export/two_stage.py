"""Detectors of two stages: Faster and Mask R-CNN."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from .boxes import best, by_position, iou_of, not_empty, suppressed, with_four_sides
from .preprocessing import Preprocessing


class TwoStageDetector(nn.Module):
    """Faster or Mask R-CNN, from picture to boxes, and masks within the boxes.

    Args:
        model: an mmdet `TwoStageDetector` in eval mode with an `RPNHead` and a `StandardRoIHead`.
        raw_masks: return the mask head's probabilities within the boxes instead of masks of the picture.
    """

    def __init__(self, model: Any, preprocessing: Preprocessing, raw_masks: bool = False) -> None:
        super().__init__()
        self.model, self.preprocessing = model, preprocessing
        self.rpn, self.rcnn = model.test_cfg.rpn, model.test_cfg.rcnn
        self.with_mask = bool(model.roi_head.with_mask)
        self.pastes = self.with_mask and not raw_masks
        self.inputs = ("image", "score_threshold", *(("size",) if self.pastes else ()))
        self.outputs = ("boxes", "scores", "labels", *(("masks",) if self.with_mask else ()))

    def forward(self, image: Tensor, score_threshold: Tensor, size: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return boxes (N, 4), scores (N,), labels (N,) and masks of a (1, H, W, 3) picture.

        Masks are (N, *size) bool, where `size` (2,) int64 is that of the original picture; raw, they are probabilities
        (N, 28, 28) within the boxes.
        """
        shape = image.shape[1:3]
        maps = self.model.extract_feat(self.preprocessing(image))
        found = self.detect(maps, self.proposals(maps, shape), shape, score_threshold)
        if not self.with_mask:
            return found
        masks = self.masks(maps, found[0], found[2])
        if size is not None:
            masks = pasted(masks, found[0], shape, size, self.rcnn.get("mask_thr_binary", 0.5))
        return (*found, masks)

    def proposals(self, maps: tuple[Tensor, ...], size: Any) -> Tensor:
        """Return (P, 4) boxes of the region proposal network."""
        head = self.model.rpn_head
        scores, deltas = head(maps)
        sizes = [level.shape[-2:] for level in scores]
        priors = head.prior_generator.grid_priors(sizes, dtype=torch.float32, device=maps[0].device)
        tops, anchors, offsets, levels = [], [], [], []
        for number, (score, delta, prior) in enumerate(zip(scores, deltas, priors, strict=True)):
            logits = by_position(score, head.cls_out_channels)
            probability = logits.sigmoid()[:, 0] if head.use_sigmoid_cls else logits.softmax(-1)[:, 0]
            top, index = best(probability, self.rpn.nms_pre)
            tops.append(top)
            anchors.append(prior[index])
            offsets.append(by_position(delta, 4)[index])
            levels.append(torch.full_like(index, number))
        best_scores = torch.cat(tops)
        boxes = with_four_sides(head.bbox_coder.decode(torch.cat(anchors), torch.cat(offsets), max_shape=size))
        keep = (best_scores >= 0) & not_empty(boxes, self.rpn.get("min_bbox_size", -1))
        left = suppressed(boxes, best_scores, torch.cat(levels), keep, iou_of(self.rpn.nms), self.rpn.max_per_img)
        return boxes[left]

    def detect(self, maps: tuple[Tensor, ...], proposals: Tensor, size: Any, threshold: Tensor) -> tuple[Tensor, ...]:
        """Return boxes, scores and labels of the second stage."""
        head = self.model.roi_head.bbox_head
        extractor = self.model.roi_head.bbox_roi_extractor
        logits, deltas = head(features_of(extractor, maps, proposals))
        probabilities = logits.softmax(-1)[:, :-1]
        classes = head.num_classes
        if head.reg_class_agnostic:
            deltas = deltas.repeat(1, classes)
        priors = proposals[:, None].expand(-1, classes, -1).reshape(-1, 4)
        boxes = decoded(head.bbox_coder, priors, deltas.reshape(-1, 4), size)
        scores = probabilities.reshape(-1)
        labels = torch.arange(classes, device=scores.device).expand_as(probabilities).reshape(-1)
        left = suppressed(boxes, scores, labels, scores > threshold, iou_of(self.rcnn.nms), self.rcnn.max_per_img)
        return boxes[left], scores[left], labels[left]

    def masks(self, maps: tuple[Tensor, ...], boxes: Tensor, labels: Tensor) -> Tensor:
        """Return the probabilities (N, h, w) of each box's own class."""
        head = self.model.roi_head.mask_head
        logits = head(features_of(self.model.roi_head.mask_roi_extractor, maps, boxes))
        if head.class_agnostic:
            return logits[:, 0].sigmoid()
        index = labels[:, None, None, None].expand(-1, 1, *logits.shape[2:])
        return logits.gather(1, index)[:, 0].sigmoid()


def pasted(masks: Tensor, boxes: Tensor, shape: Any, size: Tensor, threshold: float) -> Tensor:
    """Return (N, *size) bool masks of the original picture, as mmdet pastes them.

    Args:
        masks: (N, h, w) probabilities within the boxes.
        boxes: (N, 4) in pixels of the picture that the network saw.
        shape: height and width of that picture.
        size: (2,) height and width of the original.
    """
    rows, columns = size.tolist()
    torch._check(rows >= 2)
    torch._check(columns >= 2)
    height, width = size.to(torch.float32).unbind()
    down = sampling(torch.arange(rows), boxes[:, 1::2] * (height / shape[0]), masks.shape[1])
    across = sampling(torch.arange(columns), boxes[:, 0::2] * (width / shape[1]), masks.shape[2])
    return down @ masks @ across.transpose(1, 2) >= threshold


def sampling(pixels: Tensor, spans: Tensor, bins: int) -> Tensor:
    """Return the weights (N, pixels, bins) of bilinear sampling of `bins` values between the ends of `spans` (N, 2).

    Zero further than a pixel outside, where mmdet leaves a mask empty.
    """
    start, end = spans[:, :1], spans[:, 1:]
    place = (pixels + 0.5 - start) / (end - start) * bins - 0.5
    near = (pixels >= start.floor() - 1) & (pixels < end.ceil() + 1)
    return (1 - (place[:, :, None] - torch.arange(bins)).abs()).clamp(min=0) * near[:, :, None]


def features_of(extractor: Any, maps: tuple[Tensor, ...], boxes: Tensor) -> Tensor:
    """Return features (N, C, h, w) of the boxes, from the levels of their sizes. A level gets other boxes empty."""
    sides = boxes[:, 2:] - boxes[:, :2]
    scale = torch.log2(sides.prod(dim=1).sqrt() / extractor.finest_scale + 1e-6).floor()
    level = scale.clamp(0, extractor.num_inputs - 1)
    features = []
    for number, (feature_map, layer) in enumerate(zip(maps, extractor.roi_layers, strict=False)):
        ours = (level == number)[:, None]
        rois = torch.cat([torch.zeros_like(boxes[:, :1]), boxes * ours], dim=1)
        sampled = roi_align(
            feature_map, rois, layer.output_size, layer.spatial_scale, layer.sampling_ratio, aligned=layer.aligned
        )
        features.append(sampled.where(ours[:, :, None, None], 0.0))  # an empty box may have been divided by zero
    return torch.stack(features).sum(dim=0)


def decoded(coder: Any, anchors: Tensor, deltas: Tensor, size: Any) -> Tensor:
    """Decode like `DeltaXYWHBBoxCoder.decode`, which cannot be traced because it returns early without boxes."""
    limit = abs(torch.log(torch.tensor(16 / 1000)).item())
    offsets = deltas * deltas.new_tensor(coder.stds) + deltas.new_tensor(coder.means)
    centre = (anchors[:, :2] + anchors[:, 2:]) * 0.5
    sides = anchors[:, 2:] - anchors[:, :2]
    centre = centre + sides * offsets[:, :2]
    half = sides * offsets[:, 2:].clamp(-limit, limit).exp() * 0.5
    corners = torch.cat([centre - half, centre + half], dim=1)
    if not coder.clip_border:
        return corners
    height, width = size
    x, y = corners[:, 0::2].clamp(0, width), corners[:, 1::2].clamp(0, height)
    return torch.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], dim=1)
