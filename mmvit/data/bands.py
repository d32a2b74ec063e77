"""Reading of TIFF files with many bands as a step of a pipeline."""

from collections.abc import Sequence
from typing import Any

from mmcv.transforms import BaseTransform

from ..registry import TRANSFORMS
from .images import check_size
from .tiff import Bands, Scale, Windows


@TRANSFORMS.register_module()
class LoadBands(BaseTransform):
    """Step that reads the bands of a TIFF file, normalised; the model's preprocessor then has `mean=None, std=None`.

    Args:
        mean, std: of each band, in the order of the file.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.scale = Scale(mean, std)

    def windows(self, path: str) -> Windows:
        """Return an image whose rows and columns are read where they are sliced."""
        return Windows(Bands(path), self.scale)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add `img` (H, W, C) float32, `img_shape` and `ori_shape` to `results`, which name the file as `img_path`.

        Raises:
            InputError: the file cannot be used; its size is not the `height` and `width` that the dataset gave.
        """
        path = results["img_path"]
        image = self.windows(path)[:, :]
        shape = image.shape[:2]
        check_size(path, shape, (results.get("height"), results.get("width")))
        return dict(results, img=image, img_shape=shape, ori_shape=shape)
