"""Addresses of published files: `mmvit://NAME`, and the URLs of the tables with their copies elsewhere."""

import re
from typing import NamedTuple

from ..errors import CheckpointError, nearest
from ..registry import MODELS
from .published import SCHEME, WHOLE_MODELS, WholeModelFile
from .released import FILES, Released


class Address(NamedTuple):
    """An address of a file, and the beginning of its digest if known."""

    place: str
    sha256: str | None


def addresses(source: str) -> list[Address]:
    """Return the addresses to try in order: those of `mmvit://NAME`, or the source itself and its copies in the tables.

    Raises:
        CheckpointError: there is no such name, no released file, or only one that needs a browser.
    """
    rows = _rows()
    if not source.startswith(SCHEME):
        row = row_of(source)
        return [_address(place) for place in (source, *(row.copies if row and row.url == source else ()))]
    name = source.removeprefix(SCHEME)
    if name not in rows:
        files = [known for known, row in rows.items() if row is not None]
        raise CheckpointError(f"{source}: there is no such file; {nearest(name, files)}, see python -m mmvit list")
    row = rows[name]
    if row is None:
        raise CheckpointError(f"{source}: its authors released no file of this arch; name a path, or leave init_cfg out")
    places = [place for place in (row.url, *row.copies) if place is not None]
    if not places:
        raise CheckpointError(
            f"{source}: the authors' file is in a folder that only a browser opens, {row.folder}. "
            "Download it by hand and name its path instead"
        )
    return [_address(place) for place in places]


def row_of(source: str) -> Released | WholeModelFile | None:
    """Return the row of the published file that `mmvit://NAME` or an address names; None if there is none."""
    rows = _rows()
    if source.startswith(SCHEME):
        return rows.get(source.removeprefix(SCHEME))
    return next((row for row in rows.values() if row is not None and source in (row.url, *row.copies)), None)


def _rows() -> dict[str, Released | WholeModelFile | None]:
    MODELS.import_from_location()  # imports the families, which register their tables
    return {**FILES, **WHOLE_MODELS}


def _address(place: str) -> Address:
    """Return an address, with the beginning of the digest if OpenMMLab's file name ends in it."""
    found = re.fullmatch(r"https://download\.openmmlab\.com/.*-([0-9a-f]{8})\.pth", place)
    return Address(place, found[1] if found and place not in WRONGLY_NAMED else None)


WRONGLY_NAMED = tuple(  # these two files have the same digest in their names
    f"https://download.openmmlab.com/mmsegmentation/v0.5/van_3rdparty/van-{arch}-in1kpre_upernet_3rdparty_512x512-ade20k_20230522-"
    "653bd6b7.pth"
    for arch in ("b3", "b4")
)
