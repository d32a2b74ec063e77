"""Formats of the demo's scenes: COCO (instances), ADE20K, Cityscapes and binary segmentation (label maps)."""

import io
import json
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as rle
from scipy import ndimage

from ..measure.objects import Outline, encoded
from ..predict.formats import outlines
from .scenes import Scene
from .spec import ADE20K, BINARY, CITYSCAPES, CLASSES

IGNORED = 255  # in Cityscapes train ids; ADE20K's 0
CITY = "digits"


def write_split(root: Path, split: str, scenes: Iterable[Scene], first_image_id: int) -> int:
    """Write 'train' or 'val' in all four formats under `root`; return the number of images.

    Image and annotation ids of the two splits differ as long as `first_image_id` makes the image ids differ.
    """
    images, annotations = [], []
    for image_id, scene in enumerate(scenes, first_image_id):
        _write_scene(root, split, image_id, scene)
        images.append(_image_record(image_id, scene))
        annotations += _annotation_records(image_id, scene)
    records = {
        "info": {"description": "mmvit demo: handwritten digits on photographs", "version": "1.0", "year": 2024},
        "licenses": [{"id": 1, "name": "as scikit-learn and scikit-image ship their sample data", "url": ""}],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": index, "name": name, "supercategory": "digit"} for index, name in enumerate(CLASSES, 1)],
    }
    path = root / "coco/annotations" / f"instances_{split}2017.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(records), encoding="utf-8")
    return len(images)


def _write_scene(root: Path, split: str, image_id: int, scene: Scene) -> None:
    jpeg, train_ids = _encode(scene.image, "JPEG", quality=95, subsampling=0), label_map(scene)
    _write(root / "coco" / f"{split}2017" / _file_name(image_id), jpeg)
    foreground = np.where(train_ids == IGNORED, IGNORED, train_ids > 0).astype(np.uint8)
    for layout, name, labels in (
        (ADE20K, f"ADE_{split}_{image_id:08d}", train_ids + np.uint8(1)),  # 255 wraps to 0, which is what ADE20K ignores
        (CITYSCAPES, f"{CITY}/{CITY}_{image_id:06d}_000000", train_ids),
        (BINARY, f"{image_id:012d}", foreground),
    ):
        images, maps = (root / layout.root / folder for folder in layout.folders(split))
        is_png = layout.images[1].endswith(".png")
        content = _encode(scene.image, "PNG", compress_level=1) if is_png else jpeg
        _write(images / f"{name}{layout.images[1]}", content)
        _write(maps / f"{name}{layout.maps[1]}", _encode(labels, "PNG"))


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def _encode(pixels: np.ndarray, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def label_map(scene: Scene) -> np.ndarray:
    """Return Cityscapes train ids, (H, W) uint8: 0 background, 1 to 10 the digits, 255 a rim one pixel wide around them."""
    labels = np.zeros(scene.image.shape[:2], dtype=np.uint8)
    labels[ndimage.binary_dilation(np.any([digit.mask for digit in scene.digits], axis=0))] = IGNORED
    for digit in scene.digits:
        labels[digit.mask] = digit.label + 1
    return labels


def _file_name(image_id: int) -> str:
    return f"{image_id:012d}.jpg"


def _image_record(image_id: int, scene: Scene) -> dict:
    """Return COCO's record of an image, with the name of its photograph."""
    height, width = scene.image.shape[:2]
    record = {"id": image_id, "file_name": _file_name(image_id), "width": width, "height": height, "license": 1}
    return {**record, "photograph": scene.photograph}


def _annotation_records(image_id: int, scene: Scene) -> list[dict]:
    """Return COCO's records of an image's digits, boxes in pixels (x, y, w, h), with the index of each scan."""
    codes = encoded(np.array([digit.mask for digit in scene.digits]))
    return [
        {
            "id": image_id * 100 + index,
            "image_id": image_id,
            "category_id": digit.label + 1,
            "bbox": rle.toBbox(code).astype(int).tolist(),
            "area": int(rle.area(code)),
            "iscrowd": 0,
            "segmentation": _segmentation(digit.mask, code),
            "scan": digit.scan,
        }
        for index, (digit, code) in enumerate(zip(scene.digits, codes, strict=True))
    ]


def _segmentation(mask: np.ndarray, code: Outline) -> list[list[int]] | dict:
    """Return a polygon if one describes the mask exactly, otherwise a compressed run-length code."""
    if (polygon := outline(mask)) is not None:
        return [polygon]
    return {"size": code["size"], "counts": code["counts"].decode()}


def outline(mask: np.ndarray) -> list[int] | None:
    """Return the polygon x, y, x, y, ... along the pixels' edges, or None unless the mask is one piece without a hole.

    pycocotools fills such a polygon to exactly the mask. Pieces that touch only at a corner count as apart.
    """
    around, *others = outlines(mask)
    touches = len(np.unique(around, axis=0)) < len(around)  # itself, at a corner
    if others or touches or cv2.contourArea(around) != np.count_nonzero(mask):
        return None
    return around.ravel().tolist()
