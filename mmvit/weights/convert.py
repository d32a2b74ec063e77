"""Conversion of checkpoints into the names of the authors, mmdet, timm, or this package, without loss."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from torch import Tensor

from ..errors import CheckpointError, InputError, counted, first_few
from .archives import write_tensors
from .contents import Contents, cuts, read_contents
from .layouts import LAYOUTS, layout_of
from .layouts.layout import Layout
from .selection import is_counter
from .suggestions import networks
from .whole import KEPT

TARGETS = ("authors", "mmdet", "timm", "mmvit", "safetensors")
INSIDE = "backbone."
BLOCK = re.compile(r"(.*?blocks\.)(\d+)(\..+)")


@dataclass(frozen=True)
class Converted:
    """Tensors under a toolkit's names."""

    tensors: Mapping[str, Tensor]  # by their new names, which begin with `backbone.` in a whole model
    whole: bool  # whether this is a whole model
    left_out: tuple[str, ...]  # names of the file without a counterpart in the toolkit
    remarks: tuple[str, ...]  # notes for the user

    def __str__(self) -> str:
        lines = [counted(len(self.tensors), "tensor"), *(f"  {remark}" for remark in self.remarks)]
        return "\n".join([*lines, f"  left out: {', '.join(self.left_out)}"] if self.left_out else lines)


def convert(source: str | Path, to: str, out: Path, prefix: str | None = None, force: bool = False) -> Converted:
    """Write a checkpoint under the names of a toolkit.

    Args:
        source: path or address of a backbone or a whole model, in any layout of `LAYOUTS`.
        to: one of `TARGETS`; `safetensors` means our names in that format.
        out: file to write; in safetensors' format if its name ends in `.safetensors`, otherwise in torch's.
        prefix: see `load_pretrained`.
        force: whether to overwrite `out`.

    Raises:
        InputError: `out` exists, or the toolkit has no such network.
        CheckpointError: the file is unreadable, in no layout of `LAYOUTS`, or lacks some of the network.
    """
    if to not in TARGETS:
        raise InputError(f"--to {to}: expected one of {', '.join(TARGETS)}")
    if to == "safetensors" and out.suffix != ".safetensors":
        raise InputError(f"--out {out}: expected a name that ends in .safetensors")
    if out.exists() and not force:
        raise InputError(f"--out {out}: the file exists; name another, or give --force")
    contents = read_contents(source)
    converted = _convert(contents, "mmvit" if to == "safetensors" else to, prefix)
    meta = {key: value for key, value in contents.meta.items() if key in ("cfg", "dataset_meta", "CLASSES", "PALETTE", *KEPT)}
    write_tensors(out, converted.tensors, meta if converted.whole else None)
    return converted


def _convert(contents: Contents, to: str, prefix: str | None) -> Converted:
    layout, start = recognise(contents, prefix)
    target = layout_of(layout.family, to)
    if target is None:
        there = ", ".join(name for name in TARGETS[:-1] if layout_of(layout.family, name))
        raise InputError(f"--to {to}: mmvit knows no names of {layout.family} in {to}; there are {there}")
    try:
        ours = layout.to_ours(contents.below(start))
        theirs = target.from_ours(ours.tensors)
    except ValueError as error:
        raise CheckpointError(f"{contents.source}, as {layout}: {error}") from error
    missing = lacking(layout.family, ours.tensors)
    unbuilt = [name for name in missing if _may_be_unbuilt(name, ours.tensors)]
    if broken := [name for name in missing if name not in unbuilt]:
        raise CheckpointError(
            f"{contents.source}, as {layout}: {len(broken)} tensors of the network are not in the file: {first_few(broken)} "
            "(mmvit's names). If it is one of several, name their index, such as model.safetensors.index.json"
        )
    left_out = [*ours.unknown, *(ours.origin.get(name, name) for name in theirs.unknown)]
    root = start.removesuffix(INSIDE)
    around = {name: value for name, value in contents.below(root).items() if not name.startswith(INSIDE)}
    whole = start.endswith(INSIDE) and bool(around) and to != "timm"
    tensors = dict(theirs.tensors)
    if whole:
        tensors = {f"{INSIDE}{name}": value for name, value in tensors.items()} | around
    elif start.endswith(INSIDE):
        left_out += around
    remarks = [f"from {layout} under {start!r} to {target}"]
    if outside := [name for name in contents.tensors if not name.startswith(root)]:
        remarks.append(f"left out, as not under {root!r}: {first_few(outside)}")
    if unbuilt:
        remarks.append(f"not in the file, as of a backbone of which no later level is asked for: {first_few(unbuilt)}")
    if layout.eps != target.eps:
        remarks.append(f"eps of the layer norms: {_eps(layout)} in {layout.toolkit}, {_eps(target)} in {target.toolkit}")
    return Converted(tensors, whole, tuple(left_out), tuple(remarks))


def _eps(layout: Layout) -> str:
    return "the authors'" if layout.eps is None else str(layout.eps)


def recognise(contents: Contents, prefix: str | None = None) -> tuple[Layout, str]:
    """Return the layout of a file's backbone, of any size, and the prefix of its names.

    Raises:
        CheckpointError: the file has no backbone in a known layout, or several.
    """
    starts = ("",) if prefix is None else contents.starts(prefix)
    counts: dict[tuple[Layout, str], int] = {}
    for name in contents.tensors:
        for start, rest in cuts(name):
            if start.startswith(starts):
                for layout in LAYOUTS:
                    if layout.mark.match(rest):
                        counts.setdefault((layout, start), 0)
    for layout, start in counts:
        try:
            names = layout.to_ours(contents.below(start)).tensors
        except ValueError:
            continue
        counts[layout, start] = sum(_outline(name) in vocabulary(layout.family) for name in names)
    most = max(counts.values(), default=0)
    best = [pair for pair, count in counts.items() if count == most and most]
    averaged = [(layout, start) for layout, start in best if contents.is_averaged(start)]
    if len(averaged or best) != 1:
        choices = (
            f"several: {first_few([f'{layout} under {start!r}' for layout, start in best])}; choose with prefix"
            if best
            else "none"
        )
        raise CheckpointError(f"{contents.source}: expected one backbone in a known layout, found {choices}")
    return (averaged or best)[0]


@cache
def vocabulary(family: str) -> frozenset[str]:
    """Return our names of all tensors of a family's archs, with `#` for each number."""
    return frozenset(_outline(name) for arch, model in networks() if model.record.name == family for name in model.state_dict())


def lacking(family: str, found: Collection[str]) -> list[str]:
    """Return what a file with the tensors `found`, by our names, lacks of the family's arch that it lacks least of.

    Sizes may be the file's own: it has as many blocks as it numbers, and a part of blocks that not all stages of the arch have,
    such as a reduction of keys, may be in none of a stage's.
    """
    depths: dict[str, int] = {}
    for match in filter(None, map(BLOCK.fullmatch, found)):
        depths[match[1]] = max(depths.get(match[1], 0), int(match[2]) + 1)
    missing = []
    for _, model in networks():
        if model.record.name != family:
            continue
        expected = [name for name in model.state_dict() if not model.is_fresh(name)]
        blocks: dict[str, dict[str, list[str]]] = {}
        for match in filter(None, map(BLOCK.fullmatch, expected)):
            blocks.setdefault(match[1], {}).setdefault(match[2], []).append(match[3])
        alike = {start: each["0"] for start, each in blocks.items() if all(parts == each["0"] for parts in each.values())}
        expected = [name for name in expected if not name.startswith(tuple(alike))]
        for start, parts in alike.items():
            for part in parts:
                names = [f"{start}{number}{part}" for number in range(depths.get(start, 1))]
                if all(part in others for others in alike.values()) or any(name in found for name in names):
                    expected += names
        missing.append([name for name in expected if name not in found and not is_counter(name)])
    return min(missing, key=len)


def _may_be_unbuilt(name: str, found: Collection[str]) -> bool:
    """Return whether a tensor belongs to a level after all that a file has."""
    start, number, *_ = name.split(".")
    return start == "taps" or (start == "stages" and not any(other.startswith(f"stages.{number}.") for other in found))


def _outline(name: str) -> str:
    return re.sub(r"\d+", "#", name)
