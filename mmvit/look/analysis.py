"""`mmvit analyze`: comparison of a trained model with the annotations of a dataset, as one page of HTML."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from ..config.datasets import DatasetView, datasets_of
from ..data.label_maps import LoadLabelMap
from ..errors import InputError, first_few
from ..measure.instances import annotated_images, found_instances
from ..predict.models import Loaded, load, torch_device
from ..predict.predictor import Predictor
from ..predict.results import Detections
from . import detection, segmentation
from .page import Page
from .seeing import read


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
    dataset = one_dataset(cfg, split)
    page = Page(f"Analysis of {Path(str(checkpoint)).name}", [f"config {cfg.filename}", f"checkpoint {checkpoint}"])
    if cfg.get("default_scope") == "mmseg":
        metrics = _segmenter(cfg, dataset, checkpoint, page, device, most)
    else:
        metrics = _detector(cfg, dataset, checkpoint, page, device, score, most)
    page.write(out)
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


def _detector(
    cfg: Config, dataset: DatasetView, checkpoint: str | Path, page: Page, device: str, score: float, most: int | None
) -> dict[str, float]:
    predictor = Predictor(cfg, checkpoint, device=device, score=0.0)
    masks = bool(getattr(predictor.loaded.model, "with_mask", False))
    images, classes = annotated_images(dataset, masks)
    require_classes(predictor.classes, classes, dataset.key)
    images = images[:most]
    results = predictor([image.path for image in images])
    found = [found_instances(result) for result in results if isinstance(result, Detections)]
    detected = detection.Detected(images, found, classes, score)
    return detection.report(detected, page, predictor.read, predictor.loaded.palette)


def require_classes(trained: Sequence[str], there: Sequence[str], key: str) -> None:
    """Check that a checkpoint names the classes of a dataset, in the same order.

    Raises:
        InputError: the names differ, so that labels would mean different classes.
    """
    if tuple(trained) != tuple(there):
        raise InputError(
            f"{key} has classes {first_few(there)}, but the checkpoint was trained on {first_few(trained)}. Use its own config"
        )


def pixels_of(loaded: Loaded, path: str) -> np.ndarray:
    """Return an image (H, W, 3), BGR, as the model's reading step returns it."""
    return read(loaded, path)["img"]


def _segmenter(
    cfg: Config, dataset: DatasetView, checkpoint: str | Path, page: Page, device: str, most: int | None
) -> dict[str, float]:
    loaded = load(cfg, checkpoint, torch_device(device))
    require_classes(loaded.classes, dataset.classes(), dataset.key)
    tally = segmentation.Tally(len(loaded.classes))
    for entry in label_maps(dataset)[:most]:
        labels, scores, size = labelled(loaded, entry["img_path"])
        tally.add(entry["img_path"], LoadLabelMap().transform(dict(entry, ori_shape=size))["gt_seg_map"], labels, scores)
    return segmentation.report(tally, page, loaded.classes, lambda path: pixels_of(loaded, path), loaded.palette)


def label_maps(dataset: DatasetView) -> Sequence[dict[str, Any]]:
    """Return the entries of a dataset of label maps, for `LoadLabelMap`.

    Raises:
        InputError: a dataset of another kind, or without files.
    """
    reader = dataset.label_map_reader() if dataset.reads_label_maps else None
    if reader is None:
        raise InputError(f"{dataset.key} is {dataset.type_name}: expected one of mmseg's, with its files on this machine")
    entries = reader.load_data_list()
    if not entries:
        raise InputError(f"{dataset.key}: there are no images in {dataset.root}")
    return entries


def labelled(loaded: Loaded, path: str) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Return an image's labels (H, W), the scores of these labels (H, W) from 0 to 1, and its size."""
    data = read(loaded, path)
    size = data["ori_shape"]
    data = loaded.prepare(data)
    with DefaultScope.overwrite_default_scope(loaded.scope), torch.inference_mode():
        sample = loaded.model.test_step(dict(inputs=[data["inputs"]], data_samples=[data["data_samples"]]))[0]
    labels, logits = sample.pred_sem_seg.data[0].long(), sample.seg_logits.data.float()
    sure = logits[0] if len(logits) == 1 else logits.softmax(dim=0).amax(dim=0)
    # A single logit has been turned into a probability by mmseg.
    scores = torch.where(labels > 0, sure, 1 - sure) if len(logits) == 1 else sure
    return labels.cpu().numpy(), scores.cpu().numpy(), size


def lines_of(metrics: dict[str, float]) -> Iterator[str]:
    """Yield a line for each figure of a model."""
    for name, value in metrics.items():
        yield f"{name} {value:.3f}"
