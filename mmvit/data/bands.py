"""Reading of TIFF files with many bands as a step of a pipeline."""

from typing import Any

from mmcv.transforms import BaseTransform

from ..registry import TRANSFORMS
from .images import check_size
from .tiff import ReadBands


@TRANSFORMS.register_module()
class LoadBands(ReadBands, BaseTransform):
    """`ReadBands` for datasets; the model's preprocessor then has `mean=None, std=None`."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Do what `ReadBands` does; raise InputError also if the size is not the `height` and `width` that a dataset gave."""
        read = super().transform(results)
        check_size(read)
        return read
