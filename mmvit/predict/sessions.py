"""Opening of exported files: a function from inputs to outputs, and the file's metadata.

Opening a file imports the runtime of its format, and nothing of the training stack.
"""

import json
import os
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from threading import local
from typing import Any, NamedTuple

import numpy as np

from ..compat.python import sha256_of
from ..compat.systems import cores, inference_core
from ..errors import InputError
from .programs import require_harmless

FIELD = "mmvit"  # entry of the file's metadata that holds everything else as JSON
WEIGHTS = "mmvit_weights"  # entry of OpenVINO files: sha256 of the file of weights

IMAGES = ("inputs", "size", "batch", "scale", "classes", "palette")
ENTRIES = dict(
    detector=(*IMAGES, "score_threshold", "mask_threshold"), segmenter=IMAGES, backbone=("inputs", "size", "batch")
)  # of the metadata, that a runner asks for

Run = Callable[[dict[str, np.ndarray]], list[np.ndarray]]
SHORT = dict(float32="f32", bfloat16="bf16", float16="f16")  # OpenVINO's names
PRECISIONS = ("auto", *SHORT)
PLACES = ("Exception from ", "Check '")  # lines of OpenVINO's errors about its own source


class Session(NamedTuple):
    """An opened file: `run` maps inputs by name to a list of outputs; `metadata` was written by `mmvit export`."""

    run: Run
    metadata: dict[str, Any]
    precision: str = "float32"  # that it computes in


def open_session(file: str | Path, device: str = "auto", precision: str | None = None, streams: int = 1) -> Session:
    """Open an exported file.

    Args:
        file: `.onnx`, `.xml` (OpenVINO, its weights beside it as .bin) or `.pt2` (torch).
        device: `cpu`, `cuda` (not for OpenVINO), or `auto` for the fastest that this machine offers.
        precision: `float32`, `bfloat16`, `float16`, or `auto` for what the processor computes in, which OpenVINO files alone
            can choose. None means float32, and `auto` for files of less precision.
        streams: how many calls from several threads are computed at the same time, each with its share of the cores.

    Raises:
        InputError: there is no such file, the runtime is missing or does not have the device or the precision, or the file is
            broken or was not written by `mmvit export`.
    """
    if precision not in (None, *PRECISIONS):
        raise InputError(f"precision {precision}: expected {', '.join(PRECISIONS)}")
    if streams < 1:
        raise InputError(f"streams {streams}: expected a whole number from 1")
    file = Path(file)
    if file.suffix.lower() not in SESSIONS:
        raise InputError(f"{file}: expected an exported file that ends in {', '.join(SESSIONS)}")
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    try:
        return SESSIONS[file.suffix.lower()](file, device, precision, streams)
    except InputError:
        raise
    except Exception as error:
        lines = [line for line in str(error).splitlines() if not line.startswith(PLACES)]
        reason = next(iter(lines), "").rstrip(" .:!")
        weights = f". Its weights are {file.stem}.bin beside it: get both again" * (file.suffix.lower() == ".xml")
        raise InputError(f"{file} cannot be opened: {type(error).__name__}: {reason}{weights}") from error


def metadata_of(file: Path, text: str | None) -> dict[str, Any]:
    """Return what a file tells about itself.

    Raises:
        InputError: it tells nothing, no JSON, a kind of model that is not known, or an entry is missing.
    """
    if not text:
        raise InputError(f"{file} has no metadata of mmvit; expected a file that `mmvit export` wrote")
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


def processes() -> int:
    """Return how many processes torchrun started on this machine: they share its cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def require_own(precision: str | None, metadata: dict[str, Any], runtime: str) -> str:
    """Return the precision of a file that computes in no other. Raise InputError if another one is asked for."""
    own = str(metadata.get("precision", "float32"))
    if precision not in (None, "auto", own):
        raise InputError(
            f"precision {precision}: {runtime} computes in the precision of the file, {own}; leave it out, or export with --to "
            "openvino: those files compute in float32 and, where the processor can, in bfloat16"
        )
    return own


def open_onnx(file: Path, device: str, precision: str | None, streams: int) -> Session:
    runtime = needed("onnxruntime", "export")
    available = runtime.get_available_providers()
    wanted = dict(auto=available, cpu=["CPUExecutionProvider"], cuda=["CUDAExecutionProvider", "CPUExecutionProvider"])
    if device not in wanted:
        raise InputError(f"device {device}: onnxruntime runs on {', '.join(wanted)}")
    if lacking := [name for name in wanted[device] if name not in available]:
        raise InputError(f"device {device}: this onnxruntime has no {lacking[0]}; install onnxruntime-gpu, or use cpu")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors
    if (shares := streams * processes()) > 1:
        options.intra_op_num_threads = max(cores() // shares, 1)
    session = runtime.InferenceSession(str(file), options, providers=wanted[device])
    metadata = metadata_of(file, session.get_modelmeta().custom_metadata_map.get(FIELD))

    def run(feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        try:
            return session.run(None, feed)
        except Exception as error:  # of classes of its own; the other runtimes raise RuntimeError
            raise RuntimeError(str(error)) from error

    return Session(run, metadata, require_own(precision, metadata, "onnxruntime"))


def open_openvino(file: Path, device: str, precision: str | None, streams: int) -> Session:
    if device not in ("auto", "cpu"):
        raise InputError(f"device {device}: an OpenVINO file runs on the CPU here; leave the device out")
    needed("openvino", "openvino")
    core = inference_core()
    model = core.read_model(str(file))
    metadata = metadata_of(file, model.get_rt_info([FIELD]).astype(str) if model.has_rt_info([FIELD]) else None)
    weights = file.with_suffix(".bin")
    if model.has_rt_info([WEIGHTS]) and model.get_rt_info([WEIGHTS]).astype(str) != sha256_of(weights):
        raise InputError(f"{file}: {weights.name} beside it has other weights than were written with it. Get both again")
    wanted = precision or ("float32" if metadata.get("precision", "float32") == "float32" else "auto")
    settings: dict[str, Any] = {} if wanted == "auto" else dict(INFERENCE_PRECISION_HINT=SHORT[wanted])
    if streams > 1:
        settings |= dict(PERFORMANCE_HINT="THROUGHPUT", NUM_STREAMS=streams)
    if processes() > 1:
        settings["INFERENCE_NUM_THREADS"] = max(cores() // processes(), 1)
    compiled = core.compile_model(model, "CPU", settings)
    found = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()  # what the CPU lacks it replaces by float32
    computes_in = next((name for name, short in SHORT.items() if short == found), found)
    if wanted not in ("auto", computes_in):
        raise InputError(f"precision {wanted}: OpenVINO does not compute in it on this processor; use float32, or auto")
    of_thread = local()  # a request takes one picture at a time

    def run(feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        if not hasattr(of_thread, "request"):
            of_thread.request = compiled.create_infer_request()
        return [np.array(found) for found in of_thread.request.infer(feed).to_tuple()]

    return Session(run, metadata, computes_in)


def open_pt2(file: Path, device: str, precision: str | None, streams: int) -> Session:
    """Open torch's exported program, after checking it, because torch's reader would run code from the file."""
    torch = needed("torch", "openmmlab")
    needed("torchvision", "openmmlab")  # registers NMS and RoIAlign
    from ..compat.versions import PROGRAMS, require

    require(PROGRAMS)
    if device not in ("auto", "cpu"):
        raise InputError(f"device {device}: a .pt2 file was exported for the CPU; leave the device out")
    if streams > 1:
        raise InputError(f"streams {streams}: torch has one number of threads for a process; set it by OMP_NUM_THREADS")
    require_harmless(file)
    extra = {FIELD: ""}
    program = torch.export.load(file, extra_files=extra).module(check_guards=False)
    metadata = metadata_of(file, extra[FIELD])
    return Session(by_name(program, metadata["inputs"]), metadata, require_own(precision, metadata, "a .pt2 file"))


def by_name(program: Callable[..., Any], names: Sequence[str]) -> Run:
    """Return a program of torch as a function from inputs by name to a list of outputs, like any opened file."""
    import torch

    def run(feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        with torch.inference_mode():
            found = program(*(torch.from_numpy(feed[name]) for name in names))
        return [tensor.numpy() for tensor in (found if isinstance(found, tuple | list) else (found,))]

    return run


SESSIONS = {".onnx": open_onnx, ".xml": open_openvino, ".pt2": open_pt2}


def needed(package: str, extra: str) -> Any:
    """Import a package of an extra. Raise InputError if it is not installed."""
    try:
        return import_module(package)
    except ImportError as error:
        raise InputError(f"{package} is not installed: pip install 'mmvit[{extra}]' ({error})") from error
