"""Image reading with errors that name the file."""

from mmcv.transforms import LoadImageFromFile

from ..errors import InputError
from ..registry import TRANSFORMS
from .orientation import turned
from .tiff import too_large

MOST_UNEQUAL = 400  # long to short side: beyond it, resizing can leave one pixel, which mmdet and mmseg cannot flip, or none


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """mmcv's `LoadImageFromFile`, but with an error that names the file if an image cannot be used.

    With the defaults every image becomes 8-bit BGR, as OpenCV reads it: grey images get three equal channels, palettes their
    colours, CMYK is converted, and transparency is dropped with the colours beneath it kept (in TIFF multiplied by it). Of 16
    bits the upper 8 are kept, in TIFF with colours rounded, so that ten or twelve bits in a 16-bit file come out nearly black.
    EXIF's orientation is applied to JPEG, PNG and TIFF, but not to WebP and AVIF by OpenCV 4.12.
    """

    def transform(self, results: dict) -> dict | None:
        """Add `img` (H, W, 3), `img_shape` and `ori_shape` to `results`, which name the file as `img_path`.

        Raises:
            InputError: the file is missing, empty, truncated, or no image; its size is not the `height` and `width` that the
                dataset gave; one side is more than 400 times the other.
        """
        loaded = self.unchecked(results)
        if loaded is not None:
            check_size(loaded)
        return loaded

    def unchecked(self, results: dict) -> dict | None:
        """Do what `transform` does, with an image of any size. Raise InputError if the file cannot be read."""
        path = results["img_path"]
        try:
            return super().transform(results)
        except Exception as error:
            if advice := too_large(error):
                raise InputError(f"image {path}: {advice}") from error
            reason = "no such file" if isinstance(error, FileNotFoundError) else "it cannot be decoded as an image"
            raise InputError(
                f"image {path}: {reason}. Expected a JPEG, PNG or other image that OpenCV reads; "
                "replace the file or remove it from the annotations"
            ) from error


def check_size(results: dict) -> None:
    """Raise InputError if boxes and masks of a loaded image would be misplaced, or if resizing would leave nothing."""
    path, shape, annotated = results["img_path"], results["ori_shape"], (results.get("height"), results.get("width"))
    if None not in annotated and shape != annotated:
        raise InputError(
            f"image {path}: {size(shape)} pixels (height x width){turned(path)}, but annotated as {size(annotated)}: its boxes "
            "and masks would lie elsewhere. Correct height and width in the annotations, and the boxes if they were drawn on "
            "another size, or replace the image"
        )
    if max(shape) > MOST_UNEQUAL * min(shape):
        raise InputError(
            f"image {path}: {size(shape)} pixels (height x width): resizing would leave one pixel or none. "
            f"Expected sides of at most {MOST_UNEQUAL} to 1; cut the image into pieces or remove it"
        )


def size(shape: tuple) -> str:
    return " x ".join(map(str, shape))
