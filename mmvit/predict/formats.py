"""Results in the formats of other tools: what `mmvit predict --format` writes of the journal of a run.

supervision writes CSV. The others are written here: its YOLO stops at masks with some kinds of holes, labelformat writes CVAT
without masks, and no package writes predictions for Label Studio. An object whose mask is empty is written as its box.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

import cv2
import numpy as np

from ..data.files import whole, write_whole
from ..errors import InputError
from .results import Detections, run_lengths
from .sessions import needed
from .writing import Names

LIBRARY = ("supervision", "draw")  # with the extra that brings it
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # what no XML has; the last are bytes that are not UTF-8

Picture = tuple[str, Detections]  # name of its file of labels, without suffix; objects of an image, or of a frame of a film


def label_names(files: Iterable[Path]) -> dict[str, str]:
    """Return for each image the name of its labels in YOLO's format: its own, in a subfolder where it is in one.

    Raises:
        InputError: two images would share the file of labels, or they lie on several drives of Windows.
    """
    places = {str(file): os.path.abspath(file) for file in files}
    try:
        root = os.path.commonpath([os.path.dirname(place) for place in places.values()]) if places else ""
    except ValueError as error:
        raise InputError(f"--format yolo: images on several drives ({error}). Predict on those of each drive apart") from error
    names = {file: Path(os.path.relpath(place, root)).with_suffix("").as_posix() for file, place in places.items()}
    owners: dict[str, str] = {}
    for file, name in names.items():
        other = owners.setdefault(name.casefold(), file)
        if places[other] != places[file]:
            raise InputError(
                f"--format yolo: {other} and {file} would both have their labels in labels/{name}.txt, where YOLO looks for "
                "them; rename one, or predict on them apart"
            )
    return names


def pictures(
    lines: Iterable[Mapping[str, Any]], categories: list[dict[str, Any]], known: Mapping[str, str]
) -> Iterator[Picture]:
    """Yield the images of a journal's lines; `known` are names of files of labels. Pages and frames get others.

    Raises:
        InputError: supervision is not installed.
    """
    library = needed(*LIBRARY)
    label_of = {entry["id"]: label for label, entry in enumerate(categories)}
    names, others = tuple(entry["name"] for entry in categories), Names()
    others.take(known.values())
    for line in lines:
        if "image" not in line:
            continue
        image, entries = line["image"], line["annotations"]
        boxes = np.array([entry["bbox"] for entry in entries], dtype=np.float64).reshape(-1, 4)
        labels = np.array([label_of[entry["category_id"]] for entry in entries], dtype=int)
        size = (image["width"], image["height"])
        masks = [library.rle_to_mask(entry["segmentation"]["counts"], size) for entry in entries if "segmentation" in entry]
        objects = Detections(
            UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], line["source"]),
            size[::-1],
            np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]),
            np.array([entry["score"] for entry in entries], dtype=np.float64),
            labels,
            names,
            np.array(masks, dtype=bool) if masks else None,
        )
        first = line["source"].removesuffix(" page 0")  # whose file the labels are looked for by
        yield known.get(line["source"]) or known.get(first) or others.new(f"{line['name']}.txt"), objects


def write_yolo(found: Iterable[Picture], names: list[str], out: Path) -> None:
    """Write `labels/NAME.txt`, a line for each box or outline, and `data.yaml` with the names of the classes."""
    for name, objects in found:
        height, width = objects.size
        lines = []
        for corners, mask, label in zip(objects.boxes, _masks(objects), objects.labels, strict=True):
            shapes = [outline.ravel() for outline in outlines(mask)]
            if not shapes:
                shapes = [np.concatenate([(corners[:2] + corners[2:]) / 2, corners[2:] - corners[:2]])]
            shares = (shape.reshape(-1, 2) / [width, height] for shape in shapes)
            lines += [" ".join([str(label), *(f"{value:.6f}" for value in share.ravel())]) for share in shares]
        write_whole(out / "labels" / f"{name}.txt", "".join(f"{line}\n" for line in lines).encode())
    listed = "".join(f"  {number}: {json.dumps(name, ensure_ascii=False)}\n" for number, name in enumerate(names))
    write_whole(out / "data.yaml", f"path: .\ntrain: images\nval: images\nnames:\n{listed}".encode())


def outlines(mask: np.ndarray | None) -> list[np.ndarray]:
    """Return the outer outlines (N, 2) of the parts of a mask, along the borders of its pixels, without holes."""
    if mask is None or not mask.any():
        return []
    (top, bottom), (left, right) = _sides(mask)
    # OpenCV's go through the centres of pixels. Of a pixel doubled, the left centre belongs to its left border, the right one
    # to its right border.
    doubled = mask[top:bottom, left:right].astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    found, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    corners = ((outline[:, 0] + 1) // 2 + (left, top) for outline in found)
    return [outline[(outline != np.roll(outline, 1, axis=0)).any(axis=1)] for outline in corners]


def write_csv(found: Iterable[Picture], names: list[str], out: Path) -> None:
    """Write `predictions.csv`, a row for each object: its box, the number and name of its class, its score, its image."""
    with whole(out / "predictions.csv") as partial, needed(*LIBRARY).CSVSink(str(partial)) as sink:
        for _, objects in found:
            sink.append(objects.to_supervision(), dict(file_name=objects.source))


def write_cvat(found: Iterable[Picture], names: list[str], out: Path) -> None:
    """Write `annotations.xml`, "CVAT for images 1.1": boxes, or masks as run lengths, row by row inside of their box."""
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    labels = SubElement(SubElement(SubElement(root, "meta"), "task"), "labels")
    for name in names:
        SubElement(SubElement(labels, "label"), "name").text = name
    for number, (_, objects) in enumerate(found):
        height, width = objects.size
        about = dict(id=str(number), name=objects.source, width=str(width), height=str(height))
        image = SubElement(root, "image", about)
        for corners, mask, label in zip(objects.boxes, _masks(objects), objects.labels, strict=True):
            shape = dict(label=names[label], source="auto", occluded="0", z_order="0")
            if mask is None or not mask.any():
                sides = zip(("xtl", "ytl", "xbr", "ybr"), corners, strict=True)
                SubElement(image, "box", shape | {key: f"{value:.2f}" for key, value in sides})
            else:
                SubElement(image, "mask", shape | _runs(mask))
    write_whole(out / "annotations.xml", tostring(root, encoding="utf-8", xml_declaration=True))


def _masks(objects: Detections) -> list[np.ndarray | None]:
    return [None] * len(objects) if objects.masks is None else list(objects.masks)


def _sides(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return the rows, and the columns, between which a mask lies."""
    return [(int(where[0]), int(where[-1]) + 1) for where in (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))]


def _runs(mask: np.ndarray) -> dict[str, str]:
    """Return the attributes of CVAT's mask: its box, and the lengths of background and object in turn."""
    (top, bottom), (left, right) = _sides(mask)
    lengths = run_lengths(mask[top:bottom, left:right].T)["counts"]
    sides = dict(left=left, top=top, width=right - left, height=bottom - top)
    return {"rle": ", ".join(map(str, lengths)), **{key: str(value) for key, value in sides.items()}}


def write_label_studio(found: Iterable[Picture], names: list[str], out: Path) -> None:
    """Write `tasks.json`: for each image a task with a prediction, in percent of the image; masks as outlines."""
    tasks = []
    for _, objects in found:
        shapes = zip(objects.boxes, _masks(objects), objects.names, objects.scores.tolist(), strict=True)
        regions = [
            dict(region, from_name="label", to_name="image", score=score)
            for corners, mask, name, score in shapes
            for region in _regions(corners, mask, name, objects.size)
        ]
        mean = float(objects.scores.mean()) if regions else 0.0
        predictions = [dict(model_version="mmvit", score=mean, result=regions)]
        tasks.append(dict(data=dict(image=objects.source), predictions=predictions))
    write_whole(out / "tasks.json", json.dumps(tasks, ensure_ascii=False, indent=1).encode())


def _regions(corners: np.ndarray, mask: np.ndarray | None, name: str, size: tuple[int, int]) -> Iterator[dict[str, Any]]:
    height, width = size
    percent = 100 / np.array([width, height])
    whole = dict(original_width=width, original_height=height, image_rotation=0)
    found = outlines(mask)
    if not found:
        (x, y), (right, bottom) = corners.reshape(2, 2) * percent
        value = dict(
            x=float(x), y=float(y), width=float(right - x), height=float(bottom - y), rotation=0, rectanglelabels=[name]
        )
        yield dict(whole, type="rectanglelabels", value=value)
    for outline in found:
        value = dict(points=(outline * percent).tolist(), closed=True, polygonlabels=[name])
        yield dict(whole, type="polygonlabels", value=value)


class Format(NamedTuple):
    """Format of another tool."""

    write: Callable[[Iterable[Picture], list[str], Path], None]
    made: Sequence[str]  # files and folders that `write` writes


FORMATS = {
    "yolo": Format(write_yolo, ["labels", "data.yaml"]),
    "csv": Format(write_csv, ["predictions.csv"]),
    "cvat": Format(write_cvat, ["annotations.xml"]),
    "labelstudio": Format(write_label_studio, ["tasks.json"]),
}
