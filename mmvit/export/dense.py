"""Detectors of one stage: a head whose outputs are scores and box deltas of priors."""

from typing import Any

import torch
from torch import Tensor, nn

from .boxes import best, by_position, iou_of, not_empty, suppressed, with_four_sides
from .preprocessing import Preprocessing


class DenseDetector(nn.Module):
    """RetinaNet and similar detectors, an mmdet `SingleStageDetector` in eval mode, from picture to boxes in its pixels."""

    inputs = ("image", "score_threshold")
    outputs = ("boxes", "scores", "labels")

    def __init__(self, model: Any, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.model, self.preprocessing = model, preprocessing
        self.test = model.test_cfg

    def forward(self, image: Tensor, score_threshold: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes (N, 4), scores (N,), labels (N,) of a (1, H, W, 3) picture, by falling score."""
        head = self.model.bbox_head
        outputs = head(self.model.extract_feat(self.preprocessing(image)))
        factors = outputs[2] if len(outputs) > 2 else [None] * len(outputs[0])
        sizes = [scores.shape[-2:] for scores in outputs[0]]
        priors = head.prior_generator.grid_priors(sizes, dtype=torch.float32, device=image.device)
        strides = [stride for stride, _ in head.prior_generator.strides]
        maps = zip(outputs[0], outputs[1], factors, priors, strides, strict=True)
        levels = [self.level(*of_level, score_threshold) for of_level in maps]
        scores, labels, deltas, anchors, kept, factor = (torch.cat(parts) for parts in zip(*levels, strict=True))
        boxes = with_four_sides(head.bbox_coder.decode(anchors, deltas, max_shape=image.shape[1:3]))
        kept = kept & not_empty(boxes, self.test.get("min_bbox_size", -1))
        scores = scores * factor
        left = suppressed(boxes, scores, labels, kept, iou_of(self.test.nms), self.test.max_per_img)
        return boxes[left], scores[left], labels[left]

    def level(
        self, scores: Tensor, deltas: Tensor, factor: Tensor | None, priors: Tensor, stride: int, threshold: Tensor
    ) -> tuple[Tensor, ...]:
        """Return the best candidates of a level: scores, labels, deltas, priors, whether above the threshold, factors."""
        head = self.model.bbox_head
        classes = head.cls_out_channels
        logits = by_position(scores, classes)
        probabilities = logits.sigmoid() if head.use_sigmoid_cls else logits.softmax(-1)[:, :-1]
        classes = classes if head.use_sigmoid_cls else classes - 1
        top, index = best(probabilities.reshape(-1), self.test.nms_pre)
        place = index // classes
        factors = torch.ones_like(top) if factor is None else by_position(factor, 1).sigmoid()[place, 0]
        return top, index % classes, *self.sides(deltas, priors, stride, place), top > threshold, factors

    def sides(self, deltas: Tensor, priors: Tensor, stride: int, place: Tensor) -> tuple[Tensor, Tensor]:
        """Return deltas and priors of the candidates at `place`, as the box coder takes them."""
        return by_position(deltas, 4)[place], priors[place]


class DistributionDetector(DenseDetector):
    """GFL (Li et al., arXiv 2006.04388): each side is a distribution of its distance from the centre of an anchor."""

    def sides(self, deltas: Tensor, priors: Tensor, stride: int, place: Tensor) -> tuple[Tensor, Tensor]:
        head = self.model.bbox_head
        distances = head.integral(by_position(deltas, 4 * (head.reg_max + 1))[place])
        return distances * stride, head.anchor_center(priors[place])
