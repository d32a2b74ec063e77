"""Embedded demo dataset: scanned digits on photographs, built offline in seconds, in three formats."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from .spec import CLASSES, SEGMENTATION_CLASSES, DemoSpec

__all__ = ["CLASSES", "SEGMENTATION_CLASSES", "DemoSpec", "build"]

_STAMP = "spec.json"
_FORMAT = {"format": "mmvit-demo", "version": 1}
_EXTRA_MODULES = ("PIL", "numpy", "pycocotools", "scipy", "skimage", "sklearn")


def build(root: str | Path = "data/demo", spec: DemoSpec = DemoSpec()) -> Path:  # noqa: B008
    """Make sure that `root` holds the dataset that `spec` describes, and return `root`; see `ensure`.

    The layout is `coco/{annotations,train2017,val2017}`, `ade/ADEChallengeData2016/{images,annotations}/
    {training,validation}` and `cityscapes/{leftImg8bit,gtFine}/{train,val}/digits`.

    Raises:
        FileExistsError: `root` holds anything that no build put there and that a build would have to delete.
        ImportError: scikit-learn, scikit-image or pycocotools is missing and something has to be built.
    """
    return ensure(root, spec, lambda fresh: _write(fresh, spec))


def ensure(root: str | Path, spec: Any, write: Callable[[Path], None]) -> Path:
    """Make sure that `root` holds the dataset that `spec`, a dataclass, describes, and return `root`.

    A complete dataset of the same settings is left alone. One of other settings, or with files missing, is replaced as
    a whole: the new one is built beside it and renamed into place, so that nobody ever sees half a dataset.

    Args:
        root: folder of the dataset.
        spec: settings.
        write: writes the files to a new folder, its argument.

    Raises:
        FileExistsError: If `root` holds anything that no build put there and that a build would have to delete.
    """
    place = Path(root).resolve()
    if _is_complete(place, spec):
        return Path(root)
    _refuse_foreign(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as scratch:
        fresh = Path(scratch) / "fresh"
        write(fresh)
        stamp = {**_settings(spec), "files": sorted(_files(fresh))}
        (fresh / _STAMP).write_text(json.dumps(stamp, indent=1))
        _publish(fresh, place, Path(scratch), spec)
    return Path(root)


def _settings(spec: Any) -> dict:
    return json.loads(json.dumps({**_FORMAT, "spec": asdict(spec)}))


def _read_stamp(place: Path) -> dict | None:
    """Return what the build that made `place` wrote about itself, or None if no build made it."""
    try:
        stamp = json.loads((place / _STAMP).read_text())
    except (OSError, ValueError):
        return None
    ours = isinstance(stamp, dict) and stamp.get("format") == _FORMAT["format"] and isinstance(stamp.get("files"), list)
    return stamp if ours else None


def _files(place: Path) -> set[str]:
    """Return every file below `place` except the stamp, as POSIX paths relative to it."""
    start = len(str(place)) + 1
    found = {f"{folder}/{name}"[start:].replace(os.sep, "/") for folder, _, names in os.walk(place) for name in names}
    return found - {_STAMP}


def _is_complete(place: Path, spec: Any) -> bool:
    stamp = _read_stamp(place)
    if stamp is None or {key: stamp.get(key) for key in _settings(spec)} != _settings(spec):
        return False
    return _files(place).issuperset(stamp["files"])


def _inode(place: Path) -> int | None:
    try:
        return place.stat().st_ino
    except FileNotFoundError:
        return None


def _refuse_foreign(place: Path) -> None:
    """Raise FileExistsError if replacing `place` would delete what no build wrote."""
    if place.is_file():
        raise FileExistsError(f"{place} is a file; the demo dataset needs a folder of its own")
    while True:
        inode = _inode(place)
        stamp, files = _read_stamp(place), _files(place)
        empty = inode is None or next(place.glob("*"), None) is None
        if _inode(place) == inode:  # no other build replaced the folder while it was read
            break
    foreign = sorted(files - set(stamp["files"] if stamp else ()))
    if foreign or (stamp is None and not empty):
        example = place / foreign[0] if foreign else place
        raise FileExistsError(
            f"{place} contains files that do not belong to the demo dataset, such as {example}; "
            "they would be lost, so choose another root or move them away"
        )


def _write(fresh: Path, spec: DemoSpec) -> None:
    """Write a whole dataset to the new folder `fresh`."""
    try:
        from . import formats, scenes
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA_MODULES:
            raise
        raise ImportError(f"building the demo dataset needs {error.name}: pip install 'mmvit[demo]'") from error
    first_image_id = 1
    for split in scenes.SPLITS:
        first_image_id += formats.write_split(fresh, split, scenes.scenes(split, spec), first_image_id)


def _publish(fresh: Path, place: Path, scratch: Path, spec: Any) -> None:
    """Rename `fresh` to `place`, an older dataset there into `scratch`; yield to an equal one built meanwhile."""
    while True:
        try:
            fresh.rename(place)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        if _is_complete(place, spec):
            return
        _refuse_foreign(place)
        with suppress(FileNotFoundError):  # another process was quicker
            place.rename(Path(mkdtemp(dir=scratch)) / "stale")
