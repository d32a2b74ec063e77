"""A runner of exported models: NumPy, OpenCV and onnxruntime are all that it needs.

Copy this file beside the model and run `python runner.py model.onnx photos/`, or import it. Its results have the fields of
`mmvit.predict.results`.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

PICTURES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"))
FIELD = "mmvit"  # entry of the file's metadata that holds everything else as JSON


@dataclass(frozen=True)
class Detections:
    """Objects that a detector found in one image, by falling score.

    Attributes:
        source: path of the image, or a name for one that came as an array.
        size: height and width of the image in pixels.
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels of the image.
        scores: (N,) float32.
        labels: (N,) int64, indices into `classes`.
        classes: names of all classes.
        masks: (N, H, W) bool; (N, h, w) float32 probabilities within the boxes if raw; None from a model without masks.
    """

    source: str
    size: tuple[int, int]
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    masks: np.ndarray | None = None


@dataclass(frozen=True)
class LabelMap:
    """The class of each pixel of one image; `labels` (H, W) uint8 or uint16 are indices into `classes`."""

    source: str
    size: tuple[int, int]
    labels: np.ndarray
    classes: tuple[str, ...]


class Runner:
    """A model file, ready to take pictures.

    Args:
        file: an ONNX file that `mmvit export` wrote.
        score: least score of a detection; by default the one in the file.
        raw_masks: give masks as probabilities within the boxes instead of pasting them.

    Raises:
        ValueError: the file has no metadata of `mmvit export`, or holds a backbone alone.
    """

    def __init__(self, file: str | Path, score: float | None = None, raw_masks: bool = False) -> None:
        self.session = onnxruntime.InferenceSession(str(file), providers=onnxruntime.get_available_providers())
        written = self.session.get_modelmeta().custom_metadata_map
        if FIELD not in written:
            raise ValueError(f"{file}: no metadata of `mmvit export`; export the model with mmvit")
        self.metadata: dict[str, Any] = json.loads(written[FIELD])
        if self.metadata["kind"] == "backbone":
            raise ValueError(f"{file}: a backbone alone gives maps, not results; run it with onnxruntime itself")
        self.classes = tuple(self.metadata["classes"])
        self.score = self.metadata["score_threshold"] if score is None else score
        self.raw_masks = raw_masks

    def __call__(self, image: np.ndarray, source: str = "image") -> Detections | LabelMap:
        """Return what the model finds in a picture (H, W, 3), uint8, BGR as OpenCV reads it."""
        resized = resize(image, self.metadata["scale"])
        if self.metadata["size"] and list(resized.shape[:2]) != self.metadata["size"]:
            raise ValueError(
                f"{source}: {resized.shape[0]} x {resized.shape[1]} pixels at the test scale, but this model takes "
                f"{self.metadata['size']} only; export it with --dynamic"
            )
        feed: dict[str, np.ndarray] = dict(image=resized[None])
        size = (image.shape[0], image.shape[1])
        if self.metadata["kind"] == "segmenter":
            feed["size"] = np.array(size, np.int64)
            (labels,) = self.session.run(None, feed)
            small = np.uint8 if len(self.classes) <= 256 else np.uint16
            return LabelMap(source, size, labels[0].astype(small), self.classes)
        feed["score_threshold"] = np.array(self.score, np.float32)
        boxes, scores, labels, *masks = self.session.run(None, feed)
        # The factors, and the product with their inverses, are in the precision of mmdet.
        factors = [1 / (new / old) for new, old in zip(resized.shape[1::-1], image.shape[1::-1], strict=True)]
        boxes = (boxes * np.array(factors * 2, np.float32)).astype(np.float32)
        found = masks[0] if masks else None
        if found is not None and not self.raw_masks:
            found = paste(found, boxes, size, self.metadata["mask_threshold"])
        return Detections(source, size, boxes, scores, labels, self.classes, found)

    def files(self, folder: str | Path) -> Iterator[Detections | LabelMap]:
        """Yield the results of a picture, or of all pictures of a folder.

        Raises:
            ValueError: a file that OpenCV cannot read, or no pictures.
        """
        folder = Path(folder)
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in PICTURES) if folder.is_dir() else [folder]
        if not files:
            raise ValueError(f"{folder}: no pictures; expected files that end in {', '.join(sorted(PICTURES))}")
        for file in files:
            image = cv2.imread(str(file), cv2.IMREAD_COLOR)
            if image is None:
                raise ValueError(f"{file}: no such file, or no picture that OpenCV reads")
            yield self(image, str(file))


def resize(image: np.ndarray, rule: dict[str, Any] | None) -> np.ndarray:
    """Return the picture at the test scale, as mmcv's `Resize` makes it.

    Args:
        image: (H, W, 3).
        rule: `scale` (two sides of a frame, width first where the ratio is not kept) and `keep_ratio`; None leaves it alone.
    """
    if rule is None:
        return image
    height, width = image.shape[:2]
    if rule["keep_ratio"]:
        factor = min(max(rule["scale"]) / max(height, width), min(rule["scale"]) / min(height, width))
        size = (int(width * factor + 0.5), int(height * factor + 0.5))
    else:
        size = (rule["scale"][0], rule["scale"][1])
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def paste(masks: np.ndarray, boxes: np.ndarray, size: tuple[int, int], threshold: float) -> np.ndarray:
    """Return (N, H, W) bool masks of a picture from probabilities (N, h, w) within the boxes.

    Bilinear, with zeros around each mask, and pixels taken at their centres, as in mmdet.
    """
    pasted = np.zeros((len(masks), *size), dtype=bool)
    for mask, box, canvas in zip(masks, boxes, pasted, strict=True):
        x1, y1, x2, y2 = box
        left, top = max(int(np.floor(x1)) - 1, 0), max(int(np.floor(y1)) - 1, 0)
        right, bottom = min(int(np.ceil(x2)) + 1, size[1]), min(int(np.ceil(y2)) + 1, size[0])
        if right <= left or bottom <= top or x2 <= x1 or y2 <= y1:
            continue
        rows = weights(np.arange(top, bottom), y1, y2, mask.shape[0])
        columns = weights(np.arange(left, right), x1, x2, mask.shape[1])
        canvas[top:bottom, left:right] = rows @ mask.astype(np.float32) @ columns.T >= threshold
    return pasted


def weights(pixels: np.ndarray, start: float, end: float, bins: int) -> np.ndarray:
    """Return the weights (pixels, bins) of bilinear sampling of `bins` values that lie between `start` and `end`."""
    place = (pixels.astype(np.float32) + 0.5 - start) / (end - start) * bins - 0.5
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(bins, dtype=np.float32))).astype(np.float32)


def main(words: list[str] | None = None) -> int:
    """Print what a model finds in each picture; return the exit status."""
    parser = argparse.ArgumentParser("runner", description=__doc__)
    parser.add_argument("model", type=Path, help="an ONNX file that `mmvit export` wrote")
    parser.add_argument("pictures", type=Path, help="a picture, or a folder of pictures")
    parser.add_argument("--score", type=float, help="least score of a detection; by default the config's")
    asked = parser.parse_args(words)
    try:
        for result in Runner(asked.model, asked.score).files(asked.pictures):
            print(json.dumps(summary(result)))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def summary(result: Detections | LabelMap) -> dict[str, Any]:
    """Return the objects of a picture, or the share of each class in its pixels."""
    names = result.classes
    if isinstance(result, LabelMap):
        labels, counts = np.unique(result.labels, return_counts=True)
        shares = {names[label]: round(float(count / result.labels.size), 4) for label, count in zip(labels, counts, strict=True)}
        return dict(image=result.source, shares=shares)
    objects = [
        dict(name=names[label], score=round(float(score), 4), box=[round(float(side), 1) for side in box])
        for label, score, box in zip(result.labels, result.scores, result.boxes, strict=True)
    ]
    return dict(image=result.source, objects=objects)


if __name__ == "__main__":
    sys.exit(main())
