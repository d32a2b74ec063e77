"""Settings of the demo dataset, the classes of its labels, and where its label maps lie."""

from dataclasses import dataclass

CLASSES = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
SEGMENTATION_CLASSES = ("background", *CLASSES)


@dataclass(frozen=True)
class DemoSpec:
    """Settings of a build; two builds with equal settings are equal byte for byte on one set of library versions."""

    seed: int = 0  # with its split and its index, it seeds a generator for each image
    image_size: int = 96  # side of the square images, pixels
    train_images: int = 1200
    val_images: int = 100


@dataclass(frozen=True)
class LabelMaps:
    """Folders and file names of a segmentation dataset's images and label maps."""

    root: str
    images: tuple[str, str]  # folder, suffix
    maps: tuple[str, str]
    splits: tuple[str, str] = ("train", "val")  # names of their folders
    reduce_zero_label: bool = False
    classes: tuple[str, ...] = SEGMENTATION_CLASSES

    def folders(self, split: str) -> tuple[str, str]:
        """Return the folders of the images and maps of train or of another split, which are val's, as seen from `root`."""
        training, others = self.splits
        name = training if split == "train" else others
        return f"{self.images[0]}/{name}", f"{self.maps[0]}/{name}"


ADE20K = LabelMaps(
    "ade/ADEChallengeData2016",
    ("images", ".jpg"),
    ("annotations", ".png"),
    splits=("training", "validation"),
    reduce_zero_label=True,
)
CITYSCAPES = LabelMaps("cityscapes", ("leftImg8bit", "_leftImg8bit.png"), ("gtFine", "_gtFine_labelTrainIds.png"))
BINARY = LabelMaps("binary", ("images", ".jpg"), ("masks", ".png"), classes=("background", "digit"))
