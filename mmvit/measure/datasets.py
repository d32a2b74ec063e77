"""What a dataset's annotations say of its images."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config.datasets import DatasetView
from ..data.annotations import check_annotations, check_lists, check_masks, read
from ..data.coco import LOST, state_of, table_of
from ..data.images import check_size
from ..data.label_maps import LoadLabelMap
from ..errors import InputError, counted, first_few
from ..predict.results import Detections, Result
from .objects import Objects, Outline

Size = tuple[int, int]  # height, width


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
    """Return the images of one of mmseg's datasets. Raise InputError if it is of another kind, or without files."""
    reader = dataset.label_map_reader()
    if reader is None:
        raise InputError(f"{dataset.key} is {dataset.type_name}: expected one of mmseg's, with its files on this machine")
    images = [LabelledImage(entry["img_path"], entry) for entry in dataset.chosen(reader.load_data_list())]
    if not images:
        raise InputError(f"{dataset.key}: there are no images in {dataset.root}")
    return images


def require_boxes(dataset: DatasetView) -> None:
    """Raise InputError if a dataset is none in COCO's format, or reads no boxes."""
    if not dataset.is_coco or not dataset.reads_boxes:
        raise InputError(
            f"{dataset.key} is {dataset.type_name}: expected CocoDataset with a local ann_file, whose boxes are read"
        )


def annotated_objects(dataset: DatasetView, masks: bool, most: int | None = None) -> tuple[list[str], Objects, list[Size]]:
    """Return the first `most` images of a dataset in COCO's format, by default all: files, objects, and annotated sizes.

    Raises:
        InputError: the dataset is of another kind, its annotation file cannot be read, or a mask cannot be drawn.
    """
    require_boxes(dataset)
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
        _outlines(content, kept.tolist(), label) if masks else None,
    )
    sizes = [(content["images"][at]["height"], content["images"][at]["width"]) for at in order]
    return [str(dataset.image_folder / table.names[at]) for at in order], objects, sizes


def of_annotated(results: Iterable[Result], sizes: Sequence[Size]) -> Iterator[Detections]:
    """Yield a detector's results on images of annotated sizes.

    Raises:
        InputError: an image has another size, as in a training: its objects would lie elsewhere.
    """
    for result, (height, width) in zip(results, sizes, strict=True):
        assert isinstance(result, Detections)
        check_size(dict(img_path=result.source, ori_shape=result.size, height=height, width=width))
        yield result


def _outlines(content: dict[str, Any], kept: list[int], label: str) -> list[Outline]:
    """Return the polygons or run lengths of annotations as compressed run lengths; polygons that mmdet leaves out are not in.

    Raises:
        InputError: nothing can be drawn of some.
    """
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    entries = [content["annotations"][at] for at in kept]
    outlines = [_outline(entry["segmentation"], sizes[entry["image_id"]]) for entry in entries]
    if lost := [str(entry["id"]) for entry, outline in zip(entries, outlines, strict=True) if outline is None]:
        raise InputError(
            f"{label}: {counted(len(lost), 'annotation')} of which no mask can be drawn: {first_few(lost)}. Expected polygons "
            "of three points or more, [[x1, y1, x2, y2, x3, y3, ...], ...], or an RLE whose counts fill its image. Correct "
            "them or take them out"
        )
    return [outline for outline in outlines if outline is not None]


def _outline(shape: Any, size: Size) -> Outline | None:
    """Return a mask that passed `check_masks` as compressed run lengths; None if nothing can be drawn of it."""
    from pycocotools import mask

    if state_of(shape) == LOST:
        return None
    if isinstance(shape, list):
        return mask.merge(mask.frPyObjects([polygon for polygon in shape if state_of([polygon]) != LOST], *size))
    if not isinstance(shape["counts"], list):
        return shape
    runs = np.array([run if isinstance(run, int | float) else -1 for run in shape["counts"]])
    return mask.frPyObjects(shape, *size) if (runs >= 0).all() and runs.sum() == size[0] * size[1] else None
