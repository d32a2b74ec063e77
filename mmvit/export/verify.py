"""Comparison of an exported file with the trained model."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from ..errors import InputError, brief, counted
from ..predict.runner import paste
from ..predict.sessions import Run
from .feeds import feed_of, normalised
from .models import Exportable

TOLERANCE = 1e-3  # of a map's standard deviation, or of a score
MOST_PIXELS = 0.1  # largest difference of a box
SAME, LEAST = 0.75, 0.9  # for less precision: least overlap of two equal boxes, least share that must agree
SIZES = ((224, 320), (203, 277), (320, 224), (161, 190), (289, 353))  # height and width; three sizes are odd
BATCH = 3  # number of pictures that a file for batches is given at once


def pictures(sizes: Sequence[tuple[int, int]], batch: int = 1, channels: int | None = None) -> list[Tensor]:
    """Return random smooth pictures (batch, H, W, 3) uint8 of each size, or normalised bands (batch, H, W, channels)."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for size in sizes:
        coarse = torch.rand(batch, channels or 3, 6, 8, generator=generator) * 255
        smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0, 255).permute(0, 2, 3, 1)
        made.append((smooth / 64 - 2 if channels else smooth.to(torch.uint8)).contiguous())
    return made


def trained(exportable: Exportable, image: Tensor, score: float, size: tuple[int, int] | None = None) -> list[np.ndarray]:
    """Return the outputs of the model itself for a picture, computed by mmdet's or mmseg's own code.

    Args:
        image: (1, H, W, 3) uint8 BGR.
        score: least score of a detection.
        size: height and width of the label map, or of the original that masks are for; None for those of the picture.
    """
    model = exportable.model
    if exportable.kind == "backbone":
        return [found.numpy() for found in model(torch.from_numpy(normalised(image.numpy())))]
    shape = tuple(image.shape[1:3])
    sample = sample_of(exportable.kind, shape, size or shape)
    data = model.data_preprocessor(dict(inputs=[image[0].permute(2, 0, 1)], data_samples=[sample]), False)
    if exportable.kind == "segmenter":
        (result,) = model.predict(data["inputs"], data["data_samples"])
        return [result.pred_sem_seg.data.numpy(), result.seg_logits.data.numpy()[None]]
    with threshold_of(model, score):
        (result,) = model.predict(data["inputs"], data["data_samples"], rescale=True)
    found = result.pred_instances
    arrays = [found.bboxes.numpy(), found.scores.numpy(), found.labels.numpy()]
    return [*arrays, found.masks.numpy()] if "masks" in found else arrays


@contextmanager
def threshold_of(model: Any, score: float) -> Iterator[None]:
    """Give a detector another score threshold within the block."""
    settings = model.test_cfg.get("rcnn") or model.test_cfg
    before = settings.get("score_thr", 0.0)  # mmdet's default
    settings.score_thr = score
    try:
        yield
    finally:
        settings.score_thr = before


def sample_of(kind: str, shape: tuple[int, ...], size: tuple[int, ...]) -> Any:
    factor = (shape[1] / size[1], shape[0] / size[0])
    meta = dict(img_shape=shape, ori_shape=size, pad_shape=shape, batch_input_shape=shape, scale_factor=factor)
    if kind == "segmenter":
        from mmseg.structures import SegDataSample

        meta.pop("pad_shape")
        return SegDataSample(metainfo=meta)
    from mmdet.structures import DetDataSample

    return DetDataSample(metainfo=meta)


def verify(exportable: Exportable, run: Run, sizes: Sequence[tuple[int, int]]) -> str:
    """Compare a file's outputs with the trained model's on a picture of each size; return a sentence about the result.

    A file that takes any number of pictures is given several at once, too.

    Raises:
        InputError: an output differs by more than 1e-3 of its standard deviation, or a detection is another.
    """
    compared, many, batches = 0, exportable.channels, exportable.metadata["batch"] is None
    images = [*pictures(sizes, 1, many), *(pictures(sizes[1:2] or sizes, BATCH, many) if batches else ())]
    for image in images:
        with torch.no_grad():
            compared += COMPARISONS[exportable.kind](exportable, run, image)
    if exportable.kind == "detector":
        require_nothing(exportable, run, images[0])
    unit = dict(detector="detections", segmenter="pixels", backbone="maps")[exportable.kind]
    words = (
        f"agrees with the model in {compared} {unit} of images of {', '.join(f'{height}x{width}' for height, width in sizes)}"
    )
    return f"{words}, one by one and {BATCH} at once" if batches else words


def require_nothing(exportable: Exportable, run: Run, image: Tensor) -> None:
    """Check that a file finds nothing where no score reaches the threshold: its program may take some boxes for granted."""
    try:
        boxes, *_ = run(feed_of(exportable.metadata, image.numpy(), 1.0))
    except Exception as error:
        _refuse(image, f"a picture without an object ends in {brief(error)}")
    if len(boxes):
        _refuse(image, f"{len(boxes)} detections have a score above 1")


def original(image: Tensor) -> tuple[int, int]:
    """Return the height and width of a larger picture, of which an image (1, H, W, 3) may be the resized one."""
    return image.shape[1] * 5 // 4 + 1, image.shape[2] * 5 // 4 + 1


def compare_detections(exportable: Exportable, run: Run, image: Tensor) -> int:
    """Compare detections at a tenth of the score threshold, or without one if there are none; return their number."""
    score = exportable.metadata["score_threshold"] / 10
    larger = original(image)
    wanted = trained(exportable, image, score, larger)
    if not len(wanted[0]):
        score = 0.0
        wanted = trained(exportable, image, score, larger)
    boxes, scores, labels, *masks = run(feed_of(exportable.metadata, image.numpy(), score, larger))
    if len(boxes) != len(wanted[0]):
        _refuse(image, f"{len(boxes)} detections instead of {len(wanted[0])}")
    if not len(boxes):
        _refuse(image, "there is no detection to compare, even without a score threshold")
    boxes = boxes * np.array([larger[1] / image.shape[2], larger[0] / image.shape[1]] * 2, np.float32)
    apart = np.abs(boxes[:, None] - wanted[0]).max(axis=2) + 1e3 * (labels[:, None] != wanted[2])
    apart += np.abs(scores[:, None] - wanted[1]) / TOLERANCE * (MOST_PIXELS / 2)
    nearest = apart.argmin(axis=1)
    worst = apart.min(axis=1).max()
    if worst > MOST_PIXELS or len(np.unique(nearest)) < len(nearest):
        _refuse(image, f"a detection is {worst:.2g} pixels from the nearest of the model's")
    if masks:
        found = masks[0]
        if exportable.metadata["raw_masks"]:
            found = paste(found, boxes, larger, exportable.metadata["mask_threshold"])
        if found.shape != wanted[3].shape:
            _refuse(image, f"masks of {found.shape} instead of {wanted[3].shape}")
        share = float((found != wanted[3][nearest]).mean())
        if share > TOLERANCE:
            _refuse(image, f"masks differ in {share:.2%} of their pixels")
    return len(boxes)


def compare_label_maps(exportable: Exportable, run: Run, image: Tensor) -> int:
    """Compare label maps at a larger size; return the number of pixels. They may differ only where two classes score alike."""
    size = original(image)
    (found,) = run(feed_of(exportable.metadata, image.numpy(), size=size))
    if found.shape != (len(image), *size):
        _refuse(image, f"label maps of {found.shape} instead of {(len(image), *size)}")
    for labels, single in zip(found, image.split(1), strict=True):
        (wanted,), scores = trained(exportable, single, 0, size)
        if scores.shape[1] == 1:
            lead = np.abs(scores[0, 0] - exportable.model.decode_head.threshold)
        else:
            ordered = np.sort(scores[0], axis=0)
            lead = ordered[-1] - ordered[-2]
        wrong = (labels != wanted) & (lead > TOLERANCE * scores.std())
        if wrong.any():
            _refuse(image, f"{int(wrong.sum())} of {wrong.size} pixels have another class")
    return int(found.size)


def compare_maps(exportable: Exportable, run: Run, image: Tensor) -> int:
    """Compare the maps of a backbone; return their number."""
    found = run(feed_of(exportable.metadata, image.numpy()))
    for index, single in enumerate(image.split(1)):
        for number, (ours, (theirs,)) in enumerate(zip(found, trained(exportable, single, 0), strict=True)):
            if ours.shape != (len(image), *theirs.shape):
                _refuse(image, f"map {number} is {ours.shape} instead of {(len(image), *theirs.shape)}")
            worst = float(np.abs(ours[index] - theirs).max() / theirs.std())
            if not worst <= TOLERANCE:
                _refuse(image, f"map {number} differs by {worst:.2g} of its standard deviation")
    return len(found) * len(image)


def shared(kind: str, found: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> float:
    """Return the share of the outputs of an image, from 0 to 1, in which two runs of a kind of model agree.

    Of detections, the share on both sides that has one of its class with an intersection over union of 0.75 on the other; of
    pixels, the share of the same class; of a backbone's maps, the least correlation.
    """
    if kind == "backbone":
        return min(float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]) for ours, theirs in zip(found, wanted, strict=True))
    if kind == "segmenter":
        return float((found[0] == wanted[0]).mean())
    boxes, _, labels = found[:3]
    if not len(boxes) or not len(wanted[0]):
        return float(len(boxes) == len(wanted[0]))
    overlaps = box_iou(torch.from_numpy(boxes), torch.from_numpy(wanted[0])).numpy() * (labels[:, None] == wanted[2])
    same = overlaps >= SAME
    return float((same.any(axis=0).sum() + same.any(axis=1).sum()) / sum(same.shape))


def require_agreement(exportable: Exportable, run: Run, samples: Iterable[Tensor]) -> str:
    """Compare a file of less precision with the model on images (1, H, W, 3); return a sentence about the result.

    Raises:
        InputError: less than 0.9 agrees on the mean.
    """
    shares = []
    for image in samples:
        found = run(feed_of(exportable.metadata, image.numpy()))
        with torch.no_grad():
            wanted = trained(exportable, image, exportable.metadata.get("score_threshold", 0.0))
        shares.append(shared(exportable.kind, found, wanted))
    mean = sum(shares) / len(shares)
    if not mean >= LEAST:
        raise InputError(f"at this precision only {mean:.1%} of the model's outputs stay the same. Nothing was written")
    images = counted(len(shares), "image")
    return f"agrees with the model in {mean:.1%} on the mean of {images}, in {min(shares):.1%} at least"


COMPARISONS = dict(detector=compare_detections, segmenter=compare_label_maps, backbone=compare_maps)


def _refuse(image: Tensor, reason: str) -> NoReturn:
    where = f"a picture of {image.shape[1]}x{image.shape[2]}"
    raise InputError(f"the exported model differs from the trained one on {where}: {reason}. Nothing was written")
