"""8-bit integers in an exported file: convolutions and products with weights, calibrated on a folder of images.

ONNX files are quantised by onnxruntime, OpenVINO's by NNCF with its preset for transformers. Where too little stays the same,
NNCF gives the layers that hurt most their float form again. A file is kept only if it is faster than float32 on this machine.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..compat.python import sha256_of
from ..compat.systems import inference_core, processor
from ..errors import InputError
from ..predict.sessions import FIELD, WEIGHTS, needed, open_session
from .feeds import feed_of, images_of
from .timing import in_turns
from .verify import shared

# Processors without VNNI add pairs of products in 16 bits, which 8-bit weights overflow: weights have seven bits.
QUANTIZED = ["Conv", "MatMul", "Gemm"]
DROP = 0.05  # share of the outputs that may change before layers get their float form again
JUDGED, RANKED, GROUPS = 8, 4, 16  # images for that, of them for the order of the layers, and groups of layers at most
TURNS, TIMED = 7, 3  # turns of a comparison, and its images
LEAST = 1.05  # times as fast as float32; less may be chance
Feed = dict[str, np.ndarray]
Quantize = Callable[[Path, Path, dict[str, Any], Path], None]


def quantize_onnx(source: Path, file: Path, metadata: dict[str, Any], folder: Path) -> None:
    """Write the 8-bit form of an ONNX file; the images of a folder give the ranges of activations.

    Raises:
        InputError: a missing package, no images, or one that cannot be read.
    """
    quantization = needed("onnxruntime.quantization", "export")
    onnx = needed("onnx", "export")
    prepared = source.with_name("prepared.onnx")
    feeds = (feed_of(metadata, image) for image in images_of(folder, metadata))
    needed("onnxruntime.quantization.shape_inference", "export").quant_pre_process(
        str(source), str(prepared), skip_symbolic_shape=True, skip_optimization=False
    )
    quantization.quantize_static(
        str(prepared),
        str(file),
        SimpleNamespace(get_next=lambda: next(feeds, None)),  # a calibration's reader
        per_channel=True,
        reduce_range=True,
        op_types_to_quantize=QUANTIZED,
        extra_options=dict(MatMulConstBOnly=True),
    )
    model = onnx.load(str(file))
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {FIELD: json.dumps(metadata)})
    onnx.save(model, str(file))


def quantize_openvino(source: Path, file: Path, metadata: dict[str, Any], folder: Path) -> None:
    """Write the 8-bit form of an OpenVINO file; the images of a folder give the ranges of activations.

    Raises:
        InputError: a missing package, no images, or one that cannot be read.
    """
    os.environ.setdefault("NNCF_CI", "1")  # otherwise it sends statistics of use to its makers
    nncf, core = needed("nncf", "int8"), inference_core()  # before NNCF makes its own
    nncf.set_log_level(40)  # errors
    feeds = [feed_of(metadata, image) for image in images_of(folder, metadata)]
    run = open_session(source, "cpu").run
    judged = [(feed, run(feed)) for feed in feeds[:JUDGED]]
    model = nncf.quantize_with_accuracy_control(
        core.read_model(str(source)),
        nncf.Dataset(feeds),
        nncf.Dataset(judged),
        partial(unchanged, metadata["kind"]),
        max_drop=DROP,
        model_type=nncf.ModelType.TRANSFORMER,
        advanced_quantization_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
        advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
            max_num_iterations=GROUPS, ranking_subset_size=RANKED
        ),
    )
    save_openvino(model, file, json.dumps(metadata))


def save_openvino(model: Any, file: Path, metadata: str, halved: bool = False) -> None:
    """Write an OpenVINO model with its metadata and the digest of its weights, which are in a file beside it."""
    model.set_rt_info(metadata, [FIELD])
    for _ in range(2):  # the digest is known once the weights are written
        needed("openvino", "openvino").save_model(model, str(file), compress_to_fp16=halved)
        model.set_rt_info(sha256_of(file.with_suffix(".bin")), [WEIGHTS])


def unchanged(kind: str, compiled: Any, judged: Sequence[tuple[Feed, list[np.ndarray]]]) -> tuple[float, list[float]]:
    """Return the share of a compiled model's outputs that equal the float model's: on the mean, and of each image."""
    shares = [shared(kind, [np.array(one) for one in compiled(feed).to_tuple()], wanted) for feed, wanted in judged]
    return sum(shares) / len(shares), shares


def require_faster(files: Mapping[str, Path], metadata: dict[str, Any], folder: Path, force: bool) -> str:
    """Time the int8 and the float32 file in turns on the images of a folder; return a sentence about the result.

    Raises:
        InputError: int8 is not faster, and not `force`.
    """
    feeds = [feed_of(metadata, image) for image, _ in zip(images_of(folder, metadata), range(TIMED), strict=False)]
    steps = {name: partial(_each, open_session(file, "cpu").run, feeds) for name, file in files.items()}
    seconds = {name: median(found) / len(feeds) for name, found in in_turns(steps, TURNS, warm_up=1).items()}
    gain = seconds["float32"] / seconds["int8"]
    each = ", ".join(f"{name} {1000 * found:.1f} ms" for name, found in seconds.items())
    words = f"{each} an image on {processor()}: {gain:.2f} times as fast"
    if gain < LEAST and not force:
        raise InputError(
            f"--int8: {words} as float32, which is no gain here. Nothing was written; --force writes it, for another machine"
        )
    return words


def _each(run: Callable[[Feed], object], feeds: Sequence[Feed]) -> None:
    for feed in feeds:
        run(feed)


QUANTIZE: dict[str, Quantize] = dict(onnx=quantize_onnx, openvino=quantize_openvino)
