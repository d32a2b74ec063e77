"""Output of `mmvit predict`: pictures, label maps, and one JSON file for all images."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import cv2
import numpy as np

from ..errors import InputError
from .drawing import Colour, draw
from .results import LabelMap, Result

VIDEOS = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"})


class Names:
    """File names for results; a name that is taken gets a number."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def new(self, source: str) -> str:
        stem = name = Path(source).stem or "image"
        number = 1
        while name in self.taken:
            number += 1
            name = f"{stem}_{number}"
        self.taken.add(name)
        return name


class JsonFile:
    """A JSON file in COCO's layout, `annotations`, `images` and `categories`, valid whenever it is closed.

    Annotations are written at once, so that memory stays constant. The image of a label map has the `shares` of its classes
    instead.
    """

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        self.path, self.classes = path, classes
        self.images: list[dict[str, Any]] = []
        self.file: TextIO
        self.begun = False

    def __enter__(self) -> "JsonFile":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = self.path.open("w")
        self.file.write('{"annotations": [')
        return self

    def add(self, result: Result, label_map: Path | None = None) -> None:
        height, width = result.size
        image: dict[str, Any] = dict(id=len(self.images), file_name=result.source, height=height, width=width)
        if isinstance(result, LabelMap):
            image["shares"] = result.shares
            if label_map is not None:
                image["label_map"] = str(label_map)
        else:
            for entry in result.to_coco(image["id"]):
                self.file.write((",\n" if self.begun else "\n") + json.dumps(entry))
                self.begun = True
        self.images.append(image)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        categories = [dict(id=label, name=name) for label, name in enumerate(self.classes)]
        self.file.write(f'\n],\n"images": {json.dumps(self.images)},\n"categories": {json.dumps(categories)}}}\n')
        self.file.close()


def write_image(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image):
        raise InputError(f"{path} cannot be written. Choose another folder with --out")


class Film:
    """The frames of a video, and the video of the drawn frames, which is created with the first of them."""

    def __init__(self, path: Path, out: Path | None) -> None:
        self.path, self.out = path, out
        self.frames: list[np.ndarray] = []
        self.writer: cv2.VideoWriter | None = None
        self.capture = cv2.VideoCapture(str(path))
        if not path.is_file() or not self.capture.isOpened():
            raise InputError(f"video {path}: {'OpenCV cannot read it' if path.is_file() else 'no such file'}")

    def read(self) -> Iterator[np.ndarray]:
        """Yield the frames (H, W, 3), BGR; each waits for `add`."""
        while True:
            good, frame = self.capture.read()
            if not good:
                return
            self.frames.append(frame)
            yield frame

    def add(self, result: Result, palette: Sequence[Colour] | None, boxes: bool) -> None:
        """Write the oldest waiting frame with its result."""
        frame = self.frames.pop(0)
        if self.out is None:
            return
        if self.writer is None:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            rate = self.capture.get(cv2.CAP_PROP_FPS) or 25.0
            size = frame.shape[1], frame.shape[0]
            self.writer = cv2.VideoWriter(str(self.out), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
            if not self.writer.isOpened():
                raise InputError(f"video {self.out} cannot be written: this OpenCV lacks mp4v. Use --no-overlays")
        self.writer.write(draw(frame, result, palette, boxes))

    def close(self) -> None:
        self.capture.release()
        if self.writer is not None:
            self.writer.release()


def split(inputs: Iterable[str]) -> tuple[list[str], list[Path]]:
    """Split the inputs of a command line into images, folders and globs, and videos."""
    images: list[str] = []
    videos: list[Path] = []
    for word in inputs:
        if Path(word).suffix.lower() in VIDEOS:
            videos.append(Path(word))
        else:
            images.append(word)
    return images, videos
