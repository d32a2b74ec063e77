"""Label map reading with errors that name the file."""

from typing import Any

import cv2
import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine import fileio

from ..errors import InputError
from ..registry import TRANSFORMS
from .images import size
from .orientation import turned

IGNORED = 255
EXPECTED = "Expected an image with one channel, the number of each pixel's class, as large as the image that it belongs to"
ORIGINAL_IDS = "_labelIds.png"  # end of the names of such files of Cityscapes; those with the classes to train: TRAIN_IDS
TRAIN_IDS = "_labelTrainIds.png"
OF_CITYSCAPES = (
    "*_labelIds.png have Cityscapes' original numbers: 7 is road, and 15 of 0 to 33 are no classes to train",
    "Make *_labelTrainIds.png beside them with pip install cityscapesscripts, then CITYSCAPES_DATASET=FOLDER "
    "csCreateTrainIdLabelImgs, or with mmsegmentation's tools/dataset_converters/cityscapes.py FOLDER",
)


@TRANSFORMS.register_module()
class LoadLabelMap(BaseTransform):
    """mmseg's `LoadAnnotations` with the same labels, but with an error that names the file if a label map cannot be used.

    mmseg accepts a map of another size, turns label 256 into 0, and a map one pixel wide into a row. The dataset determines
    whether label 0 is ignored, and how classes are mapped (`metainfo.classes`).

    Args:
        imdecode_backend: backend of mmcv's `imfrombytes`.
        backend_args: options of the storage, for mmengine's `fileio`.
    """

    def __init__(self, imdecode_backend: str = "pillow", backend_args: dict[str, Any] | None = None) -> None:
        self.imdecode_backend = imdecode_backend
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Add `gt_seg_map` (H, W), uint8, of the size that the image had when it was loaded.

        Raises:
            InputError: the file is missing or cannot be decoded, has several channels or values beyond 255, or another size
                than the image.
        """
        labels = self._read(results["seg_map_path"], results.get("img_path"))
        shape = results.get("ori_shape", labels.shape)
        if labels.shape != shape:
            image = results["img_path"]
            raise InputError(
                f"label map {results['seg_map_path']}: {size(labels.shape)} pixels (height x width), but its image {image} has "
                f"{size(shape)}{turned(image)}. {EXPECTED}; create it again from that image, or remove both"
            )
        table = label_table(results["reduce_zero_label"], results.get("label_map"))
        results["gt_seg_map"] = labels if table is None else cv2.LUT(labels, table)
        results["seg_fields"].append("gt_seg_map")
        return results

    def _read(self, path: str, image: str | None) -> np.ndarray:
        where = f"label map {path}" + (f" of image {image}" if image else "")
        try:
            content = fileio.get(path, backend_args=self.backend_args)
            labels = mmcv.imfrombytes(content, flag="unchanged", backend=self.imdecode_backend)
            if labels is None:
                raise ValueError("no image")
        except Exception as error:
            reason = "no such file" if isinstance(error, FileNotFoundError) else "it cannot be decoded"
            raise InputError(f"{where}: {reason}. {EXPECTED}; replace the file, or remove both") from error
        if labels.ndim == 3 and labels.shape[2] == 1:
            labels = labels[..., 0]
        if labels.ndim != 2:
            raise InputError(
                f"{where}: {labels.shape[2]} channels, like a colour image. {EXPECTED}; convert the colours to numbers of "
                "classes"
            )
        numbers: np.ndarray = labels.astype(np.uint8, copy=False)
        if labels.dtype not in (np.uint8, bool) and (numbers != labels).any():
            raise InputError(
                f"{where}: values from {labels.min()} to {labels.max()} ({labels.dtype}). {EXPECTED}, whole numbers from 0 to "
                f"{IGNORED}"
            )
        return numbers


def label_table(reduce_zero_label: bool, label_map: dict[int, int] | None) -> np.ndarray | None:
    """Return the label (256,), uint8, that mmseg maps each value of a file to, or None if they are the same."""
    if not reduce_zero_label and not label_map:
        return None
    labels = [IGNORED, *range(IGNORED - 1), IGNORED] if reduce_zero_label else list(range(IGNORED + 1))
    return np.array([(label_map or {}).get(label, label) for label in labels], dtype=np.uint8)
