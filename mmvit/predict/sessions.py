"""Opening of exported files: a function from inputs to outputs, and the file's metadata.

Opening a file imports the runtime of its format, and nothing of the training stack.
"""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from threading import local
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from .programs import require_harmless

FIELD = "mmvit"  # entry of the file's metadata that holds everything else as JSON

IMAGES = ("inputs", "size", "batch", "scale", "classes", "palette")
ENTRIES = dict(
    detector=(*IMAGES, "score_threshold", "mask_threshold"), segmenter=IMAGES, backbone=("inputs", "size", "batch")
)  # of the metadata, that a runner asks for

Run = Callable[[dict[str, np.ndarray]], list[np.ndarray]]


class Session(NamedTuple):
    """An opened file: `run` maps inputs by name to a list of outputs; `metadata` was written by `mmvit export`."""

    run: Run
    metadata: dict[str, Any]


def open_session(file: str | Path, device: str = "auto") -> Session:
    """Open an exported file.

    Args:
        file: `.onnx`, `.xml` (OpenVINO, its weights beside it as .bin) or `.pt2` (torch).
        device: `cpu`, `cuda` (not for OpenVINO), or `auto` for the fastest that this machine offers.

    Raises:
        InputError: there is no such file, the runtime is missing or does not have the device, or the file is broken or was not
            written by `mmvit export`.
    """
    file = Path(file)
    if file.suffix not in SESSIONS:
        raise InputError(f"{file}: expected an exported file that ends in {', '.join(SESSIONS)}")
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    try:
        run, text = SESSIONS[file.suffix](file, device)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{file} cannot be opened: {type(error).__name__}: {str(error).splitlines()[0]}") from error
    if text is None:
        raise InputError(f"{file} has no metadata of mmvit; expected a file that `mmvit export` wrote")
    return Session(run, metadata_of(file, text))


def metadata_of(file: Path, text: str) -> dict[str, Any]:
    """Return what a file tells about itself.

    Raises:
        InputError: no JSON, a kind of model that is not known, or an entry is missing.
    """
    try:
        metadata = json.loads(text)
    except ValueError as error:
        raise InputError(f"{file}: its metadata of mmvit are no JSON ({error}); export the model again") from error
    kind = metadata.get("kind") if isinstance(metadata, dict) else None
    if kind not in ENTRIES:
        raise InputError(f"{file}: its metadata of mmvit name the kind {kind!r}. Expected {', '.join(ENTRIES)}")
    if lacking := [name for name in ENTRIES[kind] if name not in metadata]:
        raise InputError(f"{file}: its metadata of mmvit lack {', '.join(lacking)}; export the model again")
    return metadata


def open_onnx(file: Path, device: str) -> tuple[Run, str | None]:
    runtime = needed("onnxruntime", "export")
    available = runtime.get_available_providers()
    wanted = dict(auto=available, cpu=["CPUExecutionProvider"], cuda=["CUDAExecutionProvider", "CPUExecutionProvider"])
    if device not in wanted:
        raise InputError(f"device {device}: onnxruntime runs on {', '.join(wanted)}")
    if lacking := [name for name in wanted[device] if name not in available]:
        raise InputError(f"device {device}: this onnxruntime has no {lacking[0]}; install onnxruntime-gpu, or use cpu")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = runtime.InferenceSession(str(file), options, providers=wanted[device])
    return lambda feed: session.run(None, feed), session.get_modelmeta().custom_metadata_map.get(FIELD)


def open_openvino(file: Path, device: str) -> tuple[Run, str | None]:
    if device not in ("auto", "cpu"):
        raise InputError(f"device {device}: an OpenVINO file runs on the CPU here; leave the device out")
    core = needed("openvino", "openvino").Core()
    model = core.read_model(str(file))
    text = model.get_rt_info([FIELD]).astype(str) if model.has_rt_info([FIELD]) else None
    precision = (json.loads(text) if text else {}).get("precision", "float32")
    hint = dict(INFERENCE_PRECISION_HINT="f32") if precision == "float32" else {}  # else bfloat16 where the CPU has it
    compiled = core.compile_model(model, "CPU", hint)
    of_thread = local()  # a request takes one picture at a time

    def run(feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        if not hasattr(of_thread, "request"):
            of_thread.request = compiled.create_infer_request()
        return [np.array(found) for found in of_thread.request.infer(feed).to_tuple()]

    return run, text


def open_pt2(file: Path, device: str) -> tuple[Run, str | None]:
    """Open torch's exported program, after checking it, because torch's reader would run code from the file."""
    torch = needed("torch", "openmmlab")
    needed("torchvision", "openmmlab")  # registers NMS and RoIAlign
    if device not in ("auto", "cpu"):
        raise InputError(f"device {device}: a .pt2 file was exported for the CPU; leave the device out")
    require_harmless(file)
    extra = {FIELD: ""}
    program = torch.export.load(file, extra_files=extra).module(check_guards=False)
    names = json.loads(extra[FIELD])["inputs"] if extra[FIELD] else []

    def run(feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        with torch.inference_mode():
            found = program(*(torch.from_numpy(feed[name]) for name in names))
        return [tensor.numpy() for tensor in (found if isinstance(found, tuple | list) else (found,))]

    return run, extra[FIELD] or None


SESSIONS = {".onnx": open_onnx, ".xml": open_openvino, ".pt2": open_pt2}


def needed(package: str, extra: str) -> Any:
    """Import a package of an extra.

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise InputError(f"{package} is not installed: pip install 'mmvit[{extra}]' ({error})") from error
