"""`mmvit analyze`: comparison of a trained model with the annotations of a dataset, as one page of HTML."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from ..config.datasets import DatasetView, datasets_of
from ..errors import InputError, first_few
from ..measure.datasets import annotated_objects, labelled_images
from ..measure.objects import found_objects
from ..predict.drawing import require_drawing
from ..predict.models import Loaded
from ..predict.predictor import Predictor
from ..predict.results import Detections
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
    """Write a page on where a model fails, and return its figures: COCO's, or mmseg's.

    Args:
        cfg: config of the model, with the dataset.
        checkpoint: file of a training.
        out: file of the page.
        split: `val` or `test`.
        score: least score of a detection that counts as positive.
        device: torch's name of a device, or `auto`.
        most: number of images, from the first of the dataset; None for all.

    Raises:
        InputError: the annotations of the dataset cannot be read here, or see `Predictor`.
    """
    require_drawing()
    dataset = one_dataset(cfg, split)
    predictor = Predictor(cfg, checkpoint, device=device, score=0.0)
    require_classes(predictor.classes, dataset.classes(), dataset.key)
    if predictor.loaded.scope == "mmseg":
        template, (metrics, content) = "segmentation.html", _segmenter(predictor, dataset, most)
    else:
        template, (metrics, content) = "detection.html", _detector(predictor, dataset, score, most)
    title, lines = f"Analysis of {Path(str(checkpoint)).name}", (f"config {cfg.filename}", f"checkpoint {checkpoint}")
    page.write(out, template, title, lines, content)
    return metrics


def one_dataset(cfg: Config, split: str) -> DatasetView:
    """Return the dataset of a split; of several, the first.

    Raises:
        InputError: there is none.
    """
    found = next(datasets_of(cfg, (split,)), None)
    if found is None:
        raise InputError(f"{cfg.filename}: it has no {split}_dataloader. Choose another with --split")
    return found


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
    predictor: Predictor, dataset: DatasetView, score: float, most: int | None
) -> tuple[dict[str, float], dict[str, Any]]:
    paths, truth = annotated_objects(dataset, bool(getattr(predictor.loaded.model, "with_mask", False)), most)
    found = found_objects(result for result in predictor(paths) if isinstance(result, Detections))
    return detection.report(detection.Detected(paths, truth, found, predictor.classes, score), predictor.read)


def _segmenter(predictor: Predictor, dataset: DatasetView, most: int | None) -> tuple[dict[str, float], dict[str, Any]]:
    names = class_names(predictor.loaded)
    tally = segmentation.Tally(len(names))
    for image in labelled_images(dataset)[:most]:
        labels, scores, size = labelled(predictor.loaded, image.path)
        tally.add(image.path, image.truth(size), labels, scores)
    return segmentation.report(tally, names, predictor.read, predictor.loaded.palette)


def labelled(loaded: Loaded, path: str) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Return an image's labels (H, W), the scores of these labels (H, W) from 0 to 1, and its size."""
    given = give(loaded, path)
    with DefaultScope.overwrite_default_scope(loaded.scope), torch.inference_mode():
        (sample,) = loaded.model.predict(given.batch, [given.sample])
    labels, logits = sample.pred_sem_seg.data[0].long(), sample.seg_logits.data.float()
    single = len(logits) == 1  # then mmseg has made it the probability of label 1
    scores = torch.where(labels > 0, logits[0], 1 - logits[0]) if single else logits.softmax(dim=0).amax(dim=0)
    return labels.cpu().numpy(), scores.cpu().numpy(), given.original
