"""EXIF's orientation of images, as OpenCV applies it to files."""

from functools import cache
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

ORIENTATION = 0x0112  # EXIF's tag; 1 is upright


def orientation_of(path: str) -> int:
    """Return EXIF's orientation: 1 upright, 2 to 4 mirrored or upside down, 5 to 8 with the sides exchanged."""
    if not Path(path).is_file():
        return 1
    try:
        with Image.open(path) as image:
            return orientation(image)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
        return 1  # Pillow does not know the format


def orientation(image: Image.Image) -> int:
    """Return EXIF's orientation of an image; 1 if OpenCV does not apply it to files of this format."""
    return image.getexif().get(ORIENTATION, 1) if turns(image.format) else 1


@cache
def turns(kind: str | None) -> bool:
    """Return whether the OpenCV at hand applies EXIF's orientation to files of a format, by trial: versions differ."""
    exif, file = Image.Exif(), BytesIO()
    exif[ORIENTATION] = 6
    try:
        Image.new("RGB", (32, 16)).save(file, kind, exif=exif)
    except (KeyError, OSError, ValueError):  # no format, or one that Pillow cannot write
        return True
    read = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR)
    return read is None or read.shape[0] == 32
