"""Accuracy on the test dataset of a config."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mmengine.config import Config

from ..config.datasets import DatasetView, datasets_of
from ..data.label_maps import IGNORED
from ..errors import InputError
from ..predict.results import LabelMap, Result
from .coco import Evaluation
from .datasets import Size, annotated_objects, labelled_images, of_annotated
from .objects import found_objects
from .segmentation import confusion, figures, ignored_of


@dataclass(frozen=True)
class Validation:
    """Annotated images, of which a model's results are measured."""

    dataset: DatasetView  # their dataset, in COCO's format or one of mmseg's
    paths: list[str]  # their files
    annotated: list[Size] = field(default_factory=list)  # the sizes of a detector's images, as their annotations have them
    ignored: int = IGNORED  # the label of label maps that the config's evaluator leaves out

    def figures(self, results: Iterable[Result]) -> dict[str, float]:
        """Return AP and AP50 of boxes, and of masks if there are any; or the mean IoU of all classes.

        Raises:
            InputError: an image or its annotations cannot be used.
        """
        if self.dataset.scope == "mmseg":
            return dict(mIoU=self._mean_iou(results) / 100)
        found = found_objects(of_annotated(results, self.annotated))
        _, truth, _ = annotated_objects(self.dataset, found.masks is not None, len(self.paths))
        kinds = {"bbox": found.without_masks()} | ({} if found.masks is None else {"segm": found})
        sizes = len(self.paths), len(self.dataset.classes())
        measured = {kind: Evaluation(truth, ours, *sizes).figures() for kind, ours in kinds.items()}
        return {f"{kind} {name}": values[name] for kind, values in measured.items() for name in ("AP", "AP50")}

    def _mean_iou(self, results: Iterable[Result]) -> float:
        classes = len(self.dataset.classes())
        pixels = np.zeros((classes + 1, classes), dtype=np.int64)
        for image, result in zip(labelled_images(self.dataset), results, strict=False):
            assert isinstance(result, LabelMap)
            pixels += confusion(image.truth(result.size), result.labels, classes, self.ignored)
        return figures(pixels)["mIoU"]


def validation(config: Config, most: int | None = None) -> Validation:
    """Return the first `most` images of a config's test dataset.

    Raises:
        InputError: there is no such dataset, a detector's is not COCO's or a segmenter's not mmseg's, or its files are missing.
    """
    dataset = next(datasets_of(config, ("test",)), None)
    if dataset is None:
        raise InputError("the config has no test dataset")
    sizes: list[Size] = []
    if dataset.scope == "mmseg":
        paths = [image.path for image in labelled_images(dataset)[:most]]
    else:
        paths, _, sizes = annotated_objects(dataset, False, most)
    if not Path(paths[0]).is_file():
        raise InputError(f"{dataset.key}: no image {paths[0]}")
    return Validation(dataset, paths, sizes, ignored_of(config.get("test_evaluator")))
