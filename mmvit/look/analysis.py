"""`mmvit analyze`: comparison of a trained model with the annotations of a dataset, as one page of HTML."""

from collections.abc import Sequence
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from ..arguments import name_of
from ..config.datasets import DatasetView, datasets_of
from ..config.parts import mappings
from ..errors import InputError, first_few
from ..measure.datasets import annotated_objects, labelled_images, of_annotated, require_boxes
from ..measure.objects import found_objects, joined
from ..measure.segmentation import ignored_of
from ..predict.drawing import require_drawing
from ..predict.models import Loaded
from ..predict.predictor import Predictor
from ..predict.results import Detections
from ..predict.runner import require_score
from ..weights.downloads import require_no_export
from . import detection, page, segmentation
from .seeing import class_names, give


def analyze(
    cfg: Config,
    checkpoint: str | Path,
    out: Path,
    split: str = "val",
    score: float = 0.3,
    device: str = "auto",
    most: int | None = None,
) -> dict[str, float]:
    """Write a page on where a model fails, and return its figures: COCO's, or mmseg's and those of binary segmentation.

    Several datasets of the split stand side by side in a table of the page, and their figures follow as `NAME/FIGURE`. A
    detector with masks has figures of these; those of its boxes follow as `box FIGURE`. What nothing was counted for is NaN.

    Args:
        split: `val` or `test`.
        score: least score of a detection that counts as positive.
        most: number of images of each dataset, from the first; None for all.

    Raises:
        InputError: the annotations of the dataset cannot be read here, or see `Predictor`.
    """
    require_no_export(checkpoint)
    require_score(score)
    require_drawing()
    sets = named_datasets(cfg, split)
    predictor = Predictor(cfg, checkpoint, device=device, score=0.0)
    for dataset in sets.values():
        if predictor.loaded.scope == "mmdet":
            require_boxes(dataset)
        require_classes(predictor.classes, dataset.classes(), dataset.key)
    if predictor.loaded.scope == "mmseg":
        evaluator = cfg.get(f"{split}_evaluator")
        binary = any(name_of(part.get("type")) == "BinaryMetric" for part in mappings(evaluator))
        tally = segmentation.Tally(len(class_names(predictor.loaded)), binary, ignored_of(evaluator))
        template, (metrics, content) = "segmentation.html", _segmenter(predictor, sets, most, tally)
    else:
        template, (metrics, content) = "detection.html", _detector(predictor, sets, score, most)
    title, lines = f"Analysis of {Path(str(checkpoint)).name}", (f"config {cfg.filename}", f"checkpoint {checkpoint}")
    page.write(out, template, title, lines, content)
    return metrics


def named_datasets(cfg: Config, split: str) -> dict[str, DatasetView]:
    """Return the datasets of a split by the shortest ends of their paths that differ. Raise InputError if there is none."""
    found = list(datasets_of(cfg, (split,)))
    if not found:
        raise InputError(f"{cfg.filename}: it has no {split}_dataloader. Choose another with --split")
    paths = [[part for _, path in dataset.paths() for part in reversed(path.parts)] for dataset in found]
    for names in zip_longest(*paths, fillvalue=""):
        if len(set(names)) == len(found):
            return dict(zip(names, found, strict=True))
    return {dataset.key: dataset for dataset in found}


def require_classes(trained: Sequence[str], there: Sequence[str], key: str) -> None:
    """Check that a checkpoint names the classes of a dataset, in the same order.

    Raises:
        InputError: the names differ, so that labels would mean different classes.
    """
    if tuple(trained) != tuple(there):
        raise InputError(
            f"{key} has classes {first_few(there)}, but the checkpoint was trained on {first_few(trained)}. Use its own config"
        )


def _detector(
    predictor: Predictor, sets: dict[str, DatasetView], score: float, most: int | None
) -> tuple[dict[str, float], dict[str, Any]]:
    parts = [annotated_objects(dataset, False, most) for dataset in sets.values()]
    ends = np.cumsum([0] + [len(paths) for paths, _, _ in parts])
    paths = [path for ours, _, _ in parts for path in ours]
    results = predictor(paths)
    first = list(islice(results, 1))  # tells whether the model gives masks; what is wrong with those of the truth comes early
    if any(isinstance(result, Detections) and result.masks is not None for result in first):
        parts = [annotated_objects(dataset, True, most) for dataset in sets.values()]
    truth = joined([objects for _, objects, _ in parts], ends)
    found = found_objects(of_annotated(chain(first, results), [size for _, _, sizes in parts for size in sizes]))
    images = {name: np.arange(*ends[place : place + 2]) for place, name in enumerate(sets)}
    return detection.report(detection.Detected(paths, truth, found, predictor.classes, score, images), predictor.read)


def _segmenter(
    predictor: Predictor, sets: dict[str, DatasetView], most: int | None, tally: segmentation.Tally
) -> tuple[dict[str, float], dict[str, Any]]:
    for name, dataset in sets.items():
        with tally.of(name):
            for image in labelled_images(dataset)[:most]:
                labels, scores, size = labelled(predictor.loaded, image.path)
                tally.add(image.path, image.truth(size), labels, scores)
    return segmentation.report(tally, class_names(predictor.loaded), predictor.read, predictor.loaded.palette)


def labelled(loaded: Loaded, path: str) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Return an image's labels (H, W), the scores of these labels (H, W) from 0 to 1, and its size."""
    from mmseg.models.decode_heads import Mask2FormerHead, MaskFormerHead

    given = give(loaded, path)
    with DefaultScope.overwrite_default_scope(loaded.scope), torch.inference_mode():
        (sample,) = loaded.model.predict(given.batch, [given.sample])
    head = getattr(loaded.model, "decode_head", None)
    labels, logits = sample.pred_sem_seg.data[0].long(), sample.seg_logits.data.float()
    single = len(logits) == 1  # then mmseg has made it the probability of label 1
    if isinstance(head, MaskFormerHead | Mask2FormerHead):  # sums of the probabilities of the queries
        scores = logits.amax(dim=0).clamp(max=1)
    else:
        scores = torch.where(labels > 0, logits[0], 1 - logits[0]) if single else logits.softmax(dim=0).amax(dim=0)
    return labels.cpu().numpy(), scores.cpu().numpy(), given.original
