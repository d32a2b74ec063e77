"""8-bit integers in an ONNX file: convolutions and products with weights, calibrated on a folder of images."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..predict.sessions import FIELD, needed
from .feeds import feed_of, images_of

QUANTIZED = ["Conv", "MatMul", "Gemm"]


def quantize(file: Path, metadata: dict[str, Any], folder: Path) -> None:
    """Replace an ONNX file with its 8-bit form; the images of a folder give the ranges of activations.

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
        Feeds(metadata, images_of(folder, metadata)),
        per_channel=True,
        reduce_range=True,  # processors without VNNI add pairs of products in 16 bits, which 8-bit weights overflow
        op_types_to_quantize=QUANTIZED,
        extra_options=dict(MatMulConstBOnly=True),
    )
    prepared.unlink()
    model = onnx.load(str(file))
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {FIELD: json.dumps(metadata)})
    onnx.save(model, str(file))


class Feeds:
    """Inputs of a model for onnxruntime's calibration, one image after the other."""

    def __init__(self, metadata: dict[str, Any], images: Iterator[np.ndarray]) -> None:
        self.metadata, self.images = metadata, images

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self.images, None)
        return None if image is None else feed_of(self.metadata, image)
