"""EXIF's orientation of images, as OpenCV applies it to files."""

from functools import cache
from io import BytesIO

import cv2
import numpy as np
from PIL import Image

ORIENTATION = 0x0112  # EXIF's tag; 1 is upright


def turned(path: str) -> str:
    """Return a remark on EXIF's orientation if it turned an image of this machine by a quarter."""
    try:
        with Image.open(path) as image:
            found = orientation(image)
    except (OSError, SyntaxError, ValueError):  # no such file, or of a format that Pillow does not know
        return ""
    return f", turned upright from {found} of EXIF's orientations" if found > 4 else ""


def orientation(image: Image.Image) -> int:
    """Return EXIF's orientation of an image: 1 upright, 2 to 4 mirrored or upside down, 5 to 8 with the sides exchanged.

    It is 1 if OpenCV does not apply it to files of this format.
    """
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
