"""Settings of the demo dataset, and the classes of its labels."""

from __future__ import annotations

from dataclasses import dataclass

CLASSES = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
SEGMENTATION_CLASSES = ("background", *CLASSES)


@dataclass(frozen=True)
class DemoSpec:
    """Settings of a build; two builds with equal settings are equal byte for byte on one set of library versions.

    Args:
        seed: every image draws from a generator of its own, seeded by this seed, its split and its index.
        image_size: side of the square images, pixels.
        train_images: number of images in train.
        val_images: number of images in val.
        digits_per_image: fewest and most digits drawn for an image. A digit that finds no legible free place after many
            attempts is left out, so a crowded image may hold fewer, but never none.
        digit_size: smallest and largest height of an upright 8 x 8 scan, pixels; a digit's ink is a little smaller.
        max_rotation: largest rotation to either side, degrees.
        min_contrast: least difference in luma (0 to 255) between a digit at full ink and the 5th to 95th percentiles of
            the photograph around it, and between a digit and another one that it touches.
        min_visible: least fraction of a digit's pixels that later digits leave uncovered.

    Raises:
        ValueError: settings for which no image could be drawn.
    """

    seed: int = 0
    image_size: int = 96
    train_images: int = 1200
    val_images: int = 100
    digits_per_image: tuple[int, int] = (3, 5)
    digit_size: tuple[int, int] = (32, 60)
    max_rotation: float = 10.0
    min_contrast: float = 80.0
    min_visible: float = 0.85

    def __post_init__(self) -> None:
        fewest, most = self.digits_per_image
        smallest, largest = self.digit_size
        checks = {
            "seed must not be negative": self.seed >= 0,
            "train_images and val_images must be at least 1": min(self.train_images, self.val_images) >= 1,
            "digits_per_image must be (fewest, most) with 1 <= fewest <= most": 1 <= fewest <= most,
            "digit_size must be (smallest, largest) with 8 <= smallest <= largest": 8 <= smallest <= largest,
            "image_size must be at least 1.5 times the largest digit_size": self.image_size >= 1.5 * largest,
            "max_rotation must lie in 0 to 45": 0 <= self.max_rotation <= 45,
            "min_contrast must lie in 0 to 80": 0 <= self.min_contrast <= 80,
            "min_visible must lie in 0 to 1": 0 <= self.min_visible <= 1,
        }
        if broken := [rule for rule, holds in checks.items() if not holds]:
            raise ValueError(f"{'; '.join(broken)}: {self}")
