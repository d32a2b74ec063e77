"""8-bit integers in an ONNX file: convolutions and products with weights, calibrated on a folder of images."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..predict.runner import Read, resize
from ..predict.sessions import FIELD, needed
from ..predict.sources import paths

MOST = 64  # images of the calibration
QUANTIZED = ["Conv", "MatMul", "Gemm"]


def images_of(folder: Path, scale: dict[str, Any] | None) -> Iterator[np.ndarray]:
    """Yield the first images of a folder, (1, h, w, 3) uint8, at the test scale.

    Raises:
        InputError: no images, or one that cannot be read.
    """
    read = Read()
    for path in paths(folder)[:MOST]:
        yield np.ascontiguousarray(resize(read.transform(dict(img_path=str(path)))["img"], scale)[None])


def quantize(file: Path, metadata: dict[str, Any], folder: Path) -> None:
    """Replace an ONNX file by its 8-bit form; ranges of activations are those on the images of a folder.

    Raises:
        InputError: a missing package, no images, or one that cannot be read.
    """
    quantization = needed("onnxruntime.quantization", "export")
    onnx = needed("onnx", "export")
    prepared = file.with_name("prepared.onnx")
    needed("onnxruntime.quantization.shape_inference", "export").quant_pre_process(
        str(file), str(prepared), skip_symbolic_shape=True, skip_optimization=False
    )

    quantization.quantize_static(
        str(prepared),
        str(file),
        Feeds(metadata, images_of(folder, metadata["scale"])),
        per_channel=True,
        op_types_to_quantize=QUANTIZED,
        extra_options=dict(MatMulConstBOnly=True),
    )
    prepared.unlink()
    model = onnx.load(str(file))
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {FIELD: json.dumps(metadata)})
    onnx.save(model, str(file))


class Feeds:
    """Inputs of a model, one image after the other, as onnxruntime's calibration asks for them."""

    def __init__(self, metadata: dict[str, Any], images: Iterator[np.ndarray]) -> None:
        self.metadata, self.images = metadata, images

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self.images, None)
        return None if image is None else feed_of(self.metadata, image)


def feed_of(metadata: dict[str, Any], image: np.ndarray) -> dict[str, np.ndarray]:
    """Return the inputs of a detector or segmenter for an image (1, H, W, 3)."""
    if metadata["kind"] == "segmenter":
        return dict(image=image, size=np.array(image.shape[1:3], np.int64))
    return dict(image=image, score_threshold=np.array(metadata["score_threshold"], np.float32))
