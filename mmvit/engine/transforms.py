"""Reading images so that a bad one is named."""

from mmcv.transforms import LoadImageFromFile

from ..errors import InputError
from ..registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """mmcv's `LoadImageFromFile`, except that an image that is missing or cannot be decoded stops the run by name."""

    def transform(self, results: dict) -> dict | None:
        """Adds `img` (H, W, 3), `img_shape` and `ori_shape` to `results`, which name the file as `img_path`.

        Raises:
            InputError: the file is missing, empty, truncated beyond decoding, or no image.
        """
        try:
            return super().transform(results)
        except Exception as error:
            reason = "no such file" if isinstance(error, FileNotFoundError) else "it cannot be decoded as an image"
            raise InputError(
                f"image {results['img_path']}: {reason}. Expected a JPEG, PNG or other image that OpenCV reads; "
                "replace the file or take it out of the annotations"
            ) from error
