"""Writing a program as ONNX, torch's exported program or OpenVINO IR, once it was compared with the model."""

import json
import os
import tempfile
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from .models import Exportable
from .runner import FIELD
from .verify import SIZES, Run, verify

OPSET = 20
TRACED = (289, 421)  # no level of a detector's pyramid has one row or column at this size: those would be fixed


def export(exportable: Exportable, to: str, out: Path, size: tuple[int, int] | None) -> str:
    """Write a file; return what the comparison with the model found, in words.

    Args:
        exportable: program, model and metadata.
        to: one of `FORMATS`.
        out: the file, written whole or not at all; an OpenVINO model's weights lie beside it as .bin.
        size: height and width of all pictures; None for any.

    Raises:
        InputError: a missing package, a program that cannot be traced, or one that differs from the model.
    """
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: no folder {out.parent}; make it first")
    metadata = dict(exportable.metadata, size=list(size) if size else None)
    traced = trace(exportable, size)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        file = Path(folder) / out.name
        run = FORMATS[to](exportable, traced, file, json.dumps(metadata))
        told = verify(exportable, run, [size] if size else SIZES)
        for written in sorted(Path(folder).iterdir()):
            os.replace(written, out.parent / written.name)
    return told


def trace(exportable: Exportable, size: tuple[int, int] | None) -> Any:
    """Return torch's exported program."""
    height, width = size or TRACED
    auto = None if size else torch.export.Dim.AUTO
    if exportable.kind == "backbone":
        inputs: tuple[torch.Tensor, ...] = (torch.rand(1, 3, height, width),)
        dynamic: tuple[dict, ...] = ({2: auto, 3: auto},)
    else:
        image = torch.randint(0, 256, (1, height, width, 3), dtype=torch.uint8)
        other = torch.tensor([height + 10, width + 10]) if exportable.kind == "segmenter" else torch.tensor(0.001)
        inputs, dynamic = (image, other), ({1: auto, 2: auto}, {})
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(exportable.program, inputs, dynamic_shapes=dynamic, strict=False)
    except Exception as error:
        raise InputError(
            f"{type(exportable.model).__name__} cannot be exported, tried torch.export of {type(exportable.program).__name__}: "
            f"{type(error).__name__}: {str(error).splitlines()[0]}. Nothing was written"
        ) from error


def write_onnx(exportable: Exportable, traced: Any, file: Path, metadata: str) -> Run:
    """Write an ONNX file with the weights and the metadata inside."""
    runtime = needed("onnxruntime", "export")
    needed("onnxscript", "export")
    names = dict(input_names=list(exportable.program.inputs), output_names=list(exportable.program.outputs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(traced, dynamo=True, opset_version=OPSET, verbose=False, **names)
    assert program is not None  # it is None for a file, and none was named
    program.model.metadata_props[FIELD] = metadata
    program.save(str(file))
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return lambda feed: session.run(None, feed)


def write_pt2(exportable: Exportable, traced: Any, file: Path, metadata: str) -> Run:
    """Write torch's exported program, with the metadata as an extra file."""
    torch.export.save(traced, file, extra_files={FIELD: metadata})
    program = torch.export.load(file).module()

    def run(feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        found = program(*(torch.from_numpy(feed[name]) for name in exportable.program.inputs))
        return [tensor.numpy() for tensor in (found if isinstance(found, tuple | list) else (found,))]

    return run


def write_openvino(exportable: Exportable, traced: Any, file: Path, metadata: str) -> Run:
    """Write OpenVINO IR, made from ONNX, with the metadata in its run-time information."""
    openvino = needed("openvino", "openvino")
    between = file.with_suffix(".onnx")
    write_onnx(exportable, traced, between, metadata)
    model = openvino.convert_model(str(between))
    between.unlink()
    model.set_rt_info(metadata, [FIELD])
    openvino.save_model(model, str(file), compress_to_fp16=False)
    compiled = openvino.Core().compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda feed: [np.array(found) for found in compiled(feed).to_tuple()]


FORMATS: dict[str, Callable[[Exportable, Any, Path, str], Run]] = dict(
    onnx=write_onnx, pt2=write_pt2, openvino=write_openvino
)


def needed(package: str, extra: str) -> Any:
    """Import a package of an extra.

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise InputError(f"{package} is not installed: pip install 'mmvit[{extra}]' ({error})") from error


def metadata_of(file: Path) -> dict[str, Any]:
    """Return the metadata of an exported ONNX file.

    Raises:
        InputError: no such file, no ONNX model, or not written by `mmvit export`.
    """
    onnx = needed("onnx", "export")
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    try:
        properties = {entry.key: entry.value for entry in onnx.load(str(file)).metadata_props}
    except Exception as error:
        raise InputError(f"{file} is no ONNX model: {type(error).__name__}: {str(error).splitlines()[0]}") from error
    if FIELD not in properties:
        raise InputError(f"{file} has no metadata of mmvit; expected a file that `mmvit export` wrote")
    return json.loads(properties[FIELD])
