"""Writers of ONNX, torch's exported program and OpenVINO IR. A file is kept only if it agrees with the model."""

import errno
import io
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ..compat.versions import EXPORTING, HEADS, PROGRAMS, require
from ..errors import InputError, brief
from ..predict.sessions import FIELD, needed, open_session
from .feeds import images_of
from .integers import QUANTIZE, require_faster, save_openvino
from .models import Exportable
from .precision import halved
from .verify import SIZES, pictures, require_agreement, verify

FULL = 2**20  # bytes left on a disk that is called full
OPSET = 20
SIDES = dict(backbone=(2, 3), segmenter=(1, 2), detector=(1, 2))  # axes of height and width
TRACED = (289, 421)  # no level of a detector's pyramid has one row or column at this size: those would be fixed


@dataclass(frozen=True)
class Wanted:
    """Kind of file to write.

    In float16 the network computes in half precision and boxes stay float32; OpenVINO keeps its weights in float16 and computes
    in what the CPU supports. int8 is not for pt2.
    """

    to: str = "onnx"  # one of `FORMATS`
    size: tuple[int, int] | None = None  # height and width of all images, which then come one by one; None for any
    precision: str = "float32"  # `float32`, `float16` or `int8`
    images: Path | None = None  # folder of images that give the ranges of activations for int8, and on which it is timed
    force: bool = False  # whether to keep an int8 file that is not faster than float32 on this machine


def export(exportable: Exportable, out: Path, wanted: Wanted) -> str:
    """Write a file whole or not at all; return a sentence about its comparison with the model, and of int8 about its time.

    The weights of an OpenVINO model lie beside the file as .bin.

    Raises:
        InputError: a missing package, a program that cannot be traced, one that differs from the model, or one of int8 that is
            not faster than float32.
    """
    require(EXPORTING if exportable.kind == "backbone" else HEADS)
    if wanted.to == "pt2":
        require(PROGRAMS)
    if out.suffix != SUFFIX[wanted.to]:
        raise InputError(f"--out {out}: expected a name that ends in {SUFFIX[wanted.to]} for --to {wanted.to}")
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: no folder {out.parent}; make it first")
    settings = dict(size=list(wanted.size) if wanted.size else None, precision=wanted.precision)
    if wanted.images is not None:
        next(images_of(wanted.images, dict(exportable.metadata, **settings)))  # an empty folder is named at once
    if wanted.precision == "float16" and wanted.to != "openvino":
        exportable = replace(exportable, program=halved(exportable.program))
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        file = Path(folder) / out.name
        with quiet():
            traced, batch = trace(exportable, wanted.size)
        exportable = replace(exportable, metadata=dict(exportable.metadata, **settings, batch=batch))
        if wanted.images is None:
            with quiet(), full_disk_named(out):
                FORMATS[wanted.to](exportable, traced, file, json.dumps(exportable.metadata))
            difference = compare(exportable, file, wanted)
        else:
            difference = write_int8(exportable, traced, file, wanted)
        for written in sorted(Path(folder).iterdir()):
            os.replace(written, out.parent / written.name)
    return difference


def write_int8(exportable: Exportable, traced: Any, file: Path, wanted: Wanted) -> str:
    """Write a file of 8-bit integers; return a sentence about its comparison with the model, and its time beside float32's.

    Raises:
        InputError: it differs too much, or is not faster than float32.
    """
    assert wanted.images is not None
    metadata = exportable.metadata
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        source = Path(folder) / file.name
        with quiet(), full_disk_named(file):
            FORMATS[wanted.to](exportable, traced, source, json.dumps(dict(metadata, precision="float32")))
            QUANTIZE[wanted.to](source, file, metadata, wanted.images)
        difference = compare(exportable, file, wanted)
        return f"{difference}; {require_faster(dict(int8=file, float32=source), metadata, wanted.images, wanted.force)}"


def compare(exportable: Exportable, file: Path, wanted: Wanted) -> str:
    """Compare a file with the model; return a sentence about the result.

    Raises:
        InputError: it differs by more than its precision allows.
    """
    run = open_session(file, "cpu").run
    sizes = [wanted.size] if wanted.size else SIZES
    if wanted.images is not None:
        photographs = (torch.from_numpy(image) for image in images_of(wanted.images, exportable.metadata))
        return require_agreement(exportable, run, photographs)
    if wanted.precision == "float16":
        return require_agreement(exportable, run, pictures(list(sizes), channels=exportable.channels))
    return verify(exportable, run, sizes)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings of the exporters about their own code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def full_disk_named(out: Path) -> Iterator[None]:
    """Raise OSError for whatever an exporter raises on a full disk."""
    try:
        yield
    except Exception as error:
        if shutil.disk_usage(out.parent).free < FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out)) from error
        raise


def trace(exportable: Exportable, size: tuple[int, int] | None) -> tuple[Any, int | None]:
    """Return torch's exported program, and the number of pictures that it takes at once: None for any number.

    A file for any size takes any number, too, unless it is a detector's: NMS handles one picture.

    Raises:
        InputError: the model cannot be traced.
    """
    if size is None and exportable.kind != "detector":
        with suppress(Exception):  # a head that fixes its batch size
            traced = exported(exportable, TRACED, dict.fromkeys((0, *SIDES[exportable.kind]), torch.export.Dim.AUTO), batch=2)
            if not isinstance(shape_of(traced)[0], int):
                return traced, None
    sides = {} if size else dict.fromkeys(SIDES[exportable.kind], torch.export.Dim.AUTO)
    try:
        return exported(exportable, size or TRACED, sides), 1
    except Exception as error:
        raise InputError(
            f"{type(exportable.model).__name__} cannot be exported, tried torch.export of {type(exportable.program).__name__}: "
            f"{brief(error)}. Nothing was written"
        ) from error


def exported(exportable: Exportable, size: tuple[int, int], free: dict[int, Any], batch: int = 1) -> Any:
    """Return torch's exported program for pictures of a size; the axes in `free` may have any length."""
    height, width = size
    first = torch.rand(batch, 3, height, width)
    if exportable.kind != "backbone":
        (first,) = pictures([size], batch, exportable.channels)
    others = dict(score_threshold=torch.tensor(0.001), size=torch.tensor([height + 10, width + 10]))
    inputs = (first, *(others[name] for name in exportable.program.inputs[1:]))
    dynamic = (free, *({} for _ in inputs[1:]))
    with torch.no_grad():
        return torch.export.export(exportable.program, inputs, dynamic_shapes=dynamic, strict=False)


def shape_of(traced: Any) -> Any:
    """Return the shape of the first input of a program, with symbols for axes of any length."""
    name = traced.graph_signature.user_inputs[0]
    return next(node.meta["val"].shape for node in traced.graph.nodes if node.name == name)


def write_onnx(exportable: Exportable, traced: Any, file: Path, metadata: str) -> None:
    """Write an ONNX file with the weights and the metadata inside."""
    ops = getattr(needed("onnxscript", "export"), f"opset{OPSET}")

    def stable_sort(values: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
        """Sort by TopK, which takes the first of equal values first; torch's exporter knows no stable sort."""
        return ops.TopK(values, ops.Gather(ops.Shape(values), [dim]), axis=dim, largest=descending)

    names: dict[str, Any] = dict(input_names=list(exportable.program.inputs), output_names=list(exportable.program.outputs))
    known: dict[Callable[..., Any], Callable[..., Any]] = {torch.ops.aten.sort.stable: stable_sort}
    program = torch.onnx.export(
        traced, dynamo=True, opset_version=OPSET, verbose=False, custom_translation_table=known, **names
    )
    assert program is not None  # it is None for a file, and none was named
    program.model.metadata_props[FIELD] = metadata
    program.save(str(file))


def write_pt2(exportable: Exportable, traced: Any, file: Path, metadata: str) -> None:
    """Write torch's exported program, with the metadata as an extra file."""
    buffer = io.BytesIO()  # on a full disk torch's own writing ends the process
    torch.export.save(traced, buffer, extra_files={FIELD: metadata})
    file.write_bytes(buffer.getvalue())


def write_openvino(exportable: Exportable, traced: Any, file: Path, metadata: str) -> None:
    """Write OpenVINO IR, made from ONNX, with the metadata in its run-time information."""
    openvino = needed("openvino", "openvino")
    between = file.with_suffix(".onnx")
    write_onnx(exportable, traced, between, metadata)
    model = openvino.convert_model(str(between))
    between.unlink()
    keep_order_of_equals(model)
    save_openvino(model, file, metadata, halved=json.loads(metadata)["precision"] == "float16")


def keep_order_of_equals(model: Any) -> None:
    """Make the sorts of an OpenVINO model stable, like ONNX's.

    A TopK whose result is not sorted stays as it is: for a detector's hundreds of thousands of scores, the stable algorithm
    takes seconds.
    """
    operators = import_module("openvino.opset11")
    for old in model.get_ordered_ops():
        if old.get_type_name() != "TopK":
            continue
        settings = old.get_attributes()
        if settings["sort"] == "none":
            continue
        options = [settings[name] for name in ("axis", "mode", "sort", "index_element_type")]
        new = operators.topk(old.input_value(0), old.input_value(1), *options, stable=True)
        for number in range(2):
            old.output(number).replace(new.output(number))


FORMATS: dict[str, Callable[[Exportable, Any, Path, str], None]] = dict(onnx=write_onnx, pt2=write_pt2, openvino=write_openvino)
SUFFIX = dict(onnx=".onnx", pt2=".pt2", openvino=".xml")
