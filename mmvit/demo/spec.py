"""Settings of the demo dataset, and the classes of its labels."""

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
    """

    seed: int = 0
    image_size: int = 96
    train_images: int = 1200
    val_images: int = 100
