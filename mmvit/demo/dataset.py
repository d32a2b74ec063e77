"""Embedded demo dataset: scanned digits on photographs, built offline in seconds, in four formats."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.progress import track

from .spec import CLASSES, SEGMENTATION_CLASSES, DemoSpec

__all__ = ["CLASSES", "SEGMENTATION_CLASSES", "DemoSpec", "build"]

STAMP = "spec.json"  # lists the settings and the files of a build
FORMAT = {"format": "mmvit-demo", "version": 2}
EXTRA_MODULES = ("PIL", "numpy", "pycocotools", "scipy", "skimage", "sklearn")


def build(root: str | Path = "data/demo", spec: DemoSpec = DemoSpec()) -> Path:  # noqa: B008
    """Make sure that `root` holds the dataset that `spec` describes, and return `root`.

    The layout is `coco/{annotations,train2017,val2017}`, `ade/ADEChallengeData2016/{images,annotations}/
    {training,validation}`, `cityscapes/{leftImg8bit,gtFine}/{train,val}/digits` and `binary/{images,masks}/{train,val}`. A
    complete dataset of the same settings is left alone. Any other is replaced as a whole: the new one is written beside it and
    renamed.

    Raises:
        FileExistsError: `root` holds anything that no build put there and that a build would have to delete.
        ImportError: scikit-learn, scikit-image or pycocotools is missing and something has to be built.
    """
    place = Path(root).resolve()
    if _is_complete(place, spec):
        return Path(root)
    _refuse_foreign(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as scratch:
        fresh = Path(scratch) / "fresh"
        _write(fresh, spec)
        (fresh / STAMP).write_text(json.dumps({**_settings(spec), "files": sorted(_files(fresh))}, indent=1), encoding="utf-8")
        try:
            if place.exists() and not _is_complete(place, spec):
                place.rename(Path(scratch) / "before")
            fresh.rename(place)
        except OSError:
            if not _is_complete(place, spec):  # otherwise another process was quicker
                raise
    return Path(root)


def _settings(spec: DemoSpec) -> dict[str, Any]:
    return json.loads(json.dumps({**FORMAT, "spec": asdict(spec)}))


def _read_stamp(place: Path) -> dict[str, Any]:
    """Return what the build that made `place` wrote about itself, or nothing if no build made it."""
    try:
        stamp = json.loads((place / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    ours = isinstance(stamp, dict) and stamp.get("format") == FORMAT["format"] and isinstance(stamp.get("files"), list)
    return stamp if ours else {}


def _files(place: Path) -> set[str]:
    """Return every file below `place` except the stamp, as POSIX paths relative to it."""
    return {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()} - {STAMP}


def _is_complete(place: Path, spec: DemoSpec) -> bool:
    stamp = _read_stamp(place)
    return stamp.items() >= _settings(spec).items() and _files(place).issuperset(stamp["files"])


def _refuse_foreign(place: Path) -> None:
    """Raise FileExistsError if replacing `place` would delete what no build wrote."""
    if place.is_file():
        raise FileExistsError(f"{place} is a file; the demo dataset needs a folder of its own")
    stamp = _read_stamp(place)
    there = _files(place) | {path.name for path in place.glob(STAMP)}
    if foreign := sorted(there - ({STAMP, *stamp["files"]} if stamp else set())):
        raise FileExistsError(
            f"{place} contains files that do not belong to the demo dataset, such as {place / foreign[0]}; "
            "they would be lost, so choose another root or move them away"
        )


def _write(fresh: Path, spec: DemoSpec) -> None:
    """Write a whole dataset to the new folder `fresh`."""
    try:
        from . import formats, scenes
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA_MODULES:
            raise
        raise ImportError(f"building the demo dataset needs {error.name}: pip install 'mmvit[demo]'") from error
    console, silent = Console(stderr=True), not sys.stderr.isatty()
    first_image_id = 1
    for split, count in zip(scenes.SPLITS, (spec.train_images, spec.val_images), strict=True):
        made = scenes.scenes(split, spec)
        shown = track(made, f"demo dataset, {split}", total=count, console=console, transient=True, disable=silent)
        first_image_id += formats.write_split(fresh, split, shown, first_image_id)
