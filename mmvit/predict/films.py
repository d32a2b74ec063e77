"""Videos: their frames, and the videos of the drawn frames."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ..data.files import opencv_takes
from ..errors import InputError
from .sources import Source


class Film:
    """The frames of a video, and the video of the drawn frames, which is created with the first of them.

    Args:
        out: the video of the drawn frames, complete or not at all; None for none.

    Raises:
        InputError: there is no such file, or OpenCV cannot read it.
    """

    def __init__(self, path: Path, out: Path | None) -> None:
        self.path, self.out = path, out
        self.partial = None if out is None else out.with_name(f"{out.stem}.partial{out.suffix}")
        self.writer: cv2.VideoWriter | None = None
        self.frames = 0
        for file in filter(None, (path, out)):
            if not opencv_takes(file):
                raise InputError(f"video {file}: its name is not UTF-8, and OpenCV takes no other; rename it")
        self.capture = cv2.VideoCapture(str(path))
        if not path.is_file() or not self.capture.isOpened():
            raise InputError(f"video {path}: {'OpenCV cannot read it' if path.is_file() else 'no such file'}")

    def read(self) -> Iterator[Source]:
        """Yield the frames, with names that end in their numbers, from 0."""
        while True:
            good, frame = self.capture.read()
            if not good:
                return
            yield Source(f"{self.path} frame {self.frames}", frame)
            self.frames += 1

    def require_whole(self) -> None:
        """Raise InputError if no frame was read, or fewer than the header says; headers may be wrong by one in a hundred."""
        if not self.frames:
            raise InputError(f"video {self.path}: no frame of it could be read; it is empty, damaged or cut short")
        told = int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if told - self.frames > max(1, told // 100):
            raise InputError(
                f"video {self.path}: {self.frames} of {told} frames could be read; it is damaged or cut short, "
                "and the results are of these frames alone"
            )

    def add(self, drawn: np.ndarray) -> None:
        """Write a drawn frame."""
        assert self.partial is not None
        if self.writer is None:
            self.partial.parent.mkdir(parents=True, exist_ok=True)
            rate = self.capture.get(cv2.CAP_PROP_FPS) or 25.0
            size = drawn.shape[1], drawn.shape[0]
            self.writer = cv2.VideoWriter(str(self.partial), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
            if not self.writer.isOpened():
                raise InputError(f"video {self.out} cannot be written: this OpenCV lacks mp4v. Use --no-overlays")
        self.writer.write(drawn)

    def finish(self) -> None:
        """Complete the video of the drawn frames."""
        if self.writer is not None and self.partial is not None and self.out is not None:
            self.writer.release()
            self.partial.replace(self.out)

    def close(self) -> None:
        """Close the files; a video that is not complete goes."""
        self.capture.release()
        if self.writer is not None and self.partial is not None:
            self.writer.release()
            self.partial.unlink(missing_ok=True)
