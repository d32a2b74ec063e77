"""Write a photograph of 24 coins as labelled data: python tools/coins.py data/coins.

The upper half is for training, the lower for validation, with outlines as YOLO's text. The photograph is scikit-image's: Greek
coins from Pompeii, Brooklyn Museum Collection, no known copyright restrictions. The outlines are found as in its tutorial on
segmentation.
"""

from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage
from skimage import data, filters, segmentation

ENLARGED = 2  # so that the names of results can be read
CUT = 150  # the row of pixels between the second and the third row of coins
LEAST = 300  # pixels of a coin


def main(folder: Path) -> None:
    image = data.coins()
    for split, top, bottom in (("train", 0, CUT), ("val", CUT, len(image))):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        half = Image.fromarray(image[top:bottom]).convert("RGB")
        size = (half.width * ENLARGED, half.height * ENLARGED)
        half.resize(size, Image.Resampling.BICUBIC).save(folder / "images" / split / "coins.png")
        inside = [points - (0, top) for points in outlines(image) if top <= points[0, 1] < bottom]
        lines = [" ".join(f"{value:.4f}" for value in ((points + 0.5) / half.size).ravel()) for points in inside]
        (folder / "labels" / split / "coins.txt").write_text("".join(f"0 {line}\n" for line in lines), encoding="utf-8")
    (folder / "classes.txt").write_text("coin\n", encoding="utf-8")
    print(f"written: {folder}")


def outlines(image: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the corners (N, 2) of each coin, x and y in pixels."""
    markers = np.where(image < 30, 1, np.where(image > 150, 2, 0))  # surely background, surely coin
    coins = ndimage.binary_fill_holes(segmentation.watershed(filters.sobel(image), markers) == 2)
    clean = ndimage.binary_opening(coins, iterations=3).astype(np.uint8)
    for contour in cv2.findContours(clean, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
        if cv2.contourArea(contour) > LEAST:
            yield cv2.approxPolyDP(contour, 0.7, True)[:, 0]


if __name__ == "__main__":
    parser = ArgumentParser(description=str(__doc__).split(":")[0])
    parser.add_argument("folder", type=Path)
    main(parser.parse_args().folder)
