"""What a dataset's annotations say of its images."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config.datasets import DatasetView
from ..data.annotations import check_annotations, check_lists, check_masks, read
from ..data.coco import table_of
from ..data.label_maps import LoadLabelMap
from ..errors import InputError
from .objects import Objects, Outline


@dataclass(frozen=True)
class LabelledImage:
    """An image with a label map, which is read when it is asked for."""

    path: str
    entry: dict[str, Any]

    def truth(self, size: tuple[int, int]) -> np.ndarray:
        """Return the labels (H, W), uint8, of an image of a height and width.

        Raises:
            InputError: the file cannot be used, or has another size.
        """
        labels: np.ndarray = LoadLabelMap().transform(dict(self.entry, seg_fields=[], ori_shape=size))["gt_seg_map"]
        return labels


def labelled_images(dataset: DatasetView) -> list[LabelledImage]:
    """Return the images of one of mmseg's datasets.

    Raises:
        InputError: a dataset of another kind, or without files.
    """
    reader = dataset.label_map_reader()
    if reader is None:
        raise InputError(f"{dataset.key} is {dataset.type_name}: expected one of mmseg's, with its files on this machine")
    images = [LabelledImage(entry["img_path"], entry) for entry in dataset.chosen(reader.load_data_list())]
    if not images:
        raise InputError(f"{dataset.key}: there are no images in {dataset.root}")
    return images


def annotated_objects(dataset: DatasetView, masks: bool, most: int | None = None) -> tuple[list[str], Objects]:
    """Return the first `most` images of a dataset in COCO's format, by default all, and their objects.

    Raises:
        InputError: the dataset is of another kind, or its annotation file cannot be read.
    """
    if not dataset.is_coco or not dataset.reads_boxes:
        raise InputError(
            f"{dataset.key} is {dataset.type_name}: expected CocoDataset with a local ann_file, whose boxes are read"
        )
    classes, label = dataset.classes(), f"annotations {dataset.ann_file}"
    content = read(dataset.ann_file, label, annotated=True)
    check_lists(content, label, classes)
    check_annotations(content, label)
    table = table_of(content)
    assert table.columns is not None
    # Images in the evaluator's order, on which the figures depend where scores are equal; what is not wanted has place -1.
    chosen = dataset.chosen(range(len(table.ids)))[:most]
    order = sorted(chosen, key=lambda at: (isinstance(table.ids[at], str), table.ids[at]))
    places = np.full(len(table.ids) + 1, -1)
    places[order] = range(len(order))
    labels = np.array([classes.index(name) if name in classes else -1 for name in table.categories] + [-1])
    place, label_of = places[table.columns.image], labels[table.columns.category]
    kept = np.flatnonzero((place >= 0) & (label_of >= 0))
    if masks:
        check_masks(content, label, kept.tolist())
    boxes = table.columns.bbox[kept]
    boxes[:, 2:] += boxes[:, :2]
    objects = Objects(
        place[kept],
        boxes,
        label_of[kept],
        table.columns.area[kept],
        np.full(len(kept), np.nan),
        table.columns.crowd[kept],
        list(_outlines(content, kept.tolist())) if masks else None,
    )
    return [str(dataset.image_folder / table.names[at]) for at in order], objects


def _outlines(content: dict[str, Any], kept: list[int]) -> Iterator[Outline]:
    """Yield the polygons or run lengths of annotations as compressed run lengths."""
    from pycocotools import mask

    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    for entry in (content["annotations"][at] for at in kept):
        shape, size = entry["segmentation"], sizes[entry["image_id"]]
        if isinstance(shape, list):
            yield mask.merge(mask.frPyObjects(shape, *size))
        else:
            yield mask.frPyObjects(shape, *size) if isinstance(shape["counts"], list) else shape
