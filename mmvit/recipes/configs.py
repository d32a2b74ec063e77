"""Names and text of the configs: a leaf, `configs/HEAD_FAMILY_ARCH_DATASET.py`, is written from `tables` and `families`.

`text` writes a leaf, `parse` reads its name, `committed` lists the leaves of the repository. The command is
`tools/make_config.py`.
"""

import textwrap
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError, nearest
from ..pyramid import Pyramid, families
from .families import DROP_PATHS, RECIPES, Rates, Recipe
from .published_results import PUBLISHED
from .tables import DATASETS, HEADS, PAIRINGS, Leaf

BASES = "_base_"
SECOND = 0.4  # weight of a second head's loss, where the loss is not that of the base
WIDTH = 128  # length of a line, as in pyproject.toml


class Code(str):
    """Python source, printed as it is: `1e-4 / 1.4` says more than its value."""


def make(wanted: Iterable[Leaf], out: Path, force: bool = False) -> list[Path]:
    """Write leaves to the folder `out`, all or none, and return their paths.

    Their bases are the folder `_base_` beside them, or else those of the installed package.

    Raises:
        InputError: a file exists with other content, and `force` is not given.
    """
    bases = BASES if (out / BASES).is_dir() else f"mmvit::{BASES}"
    files = {out / f"{leaf.name}.py": text(leaf, bases) for leaf in wanted}
    differing = [path for path, content in files.items() if path.is_file() and path.read_text(encoding="utf-8") != content]
    if differing and not force:
        raise InputError(
            f"{', '.join(map(str, differing))}: the file exists with other content; nothing was written. "
            "--force overwrites, --out DIR writes elsewhere"
        )
    out.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        path.write_text(content, encoding="utf-8")
    return list(files)


def committed() -> list[Leaf]:
    """Return every pairing with a published result, and each family's small arch with every head on each of its datasets."""
    leaves = {leaf for row in PUBLISHED for leaf in row.leaves()}
    leaves |= {
        Leaf(head, name, _kind(name).record.small, data)
        for head, data in PAIRINGS
        for name in DROP_PATHS
        if DATASETS[data].has(name)
    }
    return sorted(leaves)


def parse(name: str) -> Leaf:
    """Return the parts of a leaf's name.

    Raises:
        InputError: a part is unknown, or the head is not paired with the dataset; the message lists the valid ones.
    """
    name = name.removesuffix(".py")
    head = next((head for head in HEADS if name.startswith(f"{head}_")), None)
    if head is None:
        raise _wrong(name, "head", name.partition("_")[0], HEADS)
    rest = name.removeprefix(f"{head}_")
    datasets = [data for paired, data in PAIRINGS if paired == head]
    dataset = next((data for data in datasets if rest.endswith(f"_{data}")), None)
    if dataset is None:
        raise _wrong(name, f"dataset of {head}", rest.rpartition("_")[2], datasets)
    rest = rest.removesuffix(f"_{dataset}")
    found = [family for family in DROP_PATHS if rest == family or rest.startswith(f"{family}_")]
    if not found:
        raise _wrong(name, "family", rest.partition("_")[0], DROP_PATHS)
    family = max(found, key=len)  # pvt_v2_b2 also begins with pvt
    archs, arch = _kind(family).record.archs, rest.removeprefix(family).removeprefix("_")
    if arch not in archs:
        raise _wrong(name, f"arch of {family}", arch, archs)
    return Leaf(head, family, arch, dataset)


def recipe_of(leaf: Leaf) -> Recipe:
    """Return the recipe of a leaf: the first that covers it, or ours, completed by its pairing."""
    pairing = PAIRINGS[leaf.head, leaf.dataset]
    known = RECIPES.get((leaf.family, leaf.dataset), [])
    ours = Recipe((leaf.head,), f"; ours: {pairing.ours}", published=False)
    recipe = next((recipe for recipe in known if recipe.covers(leaf)), ours)
    return replace(
        recipe, images=recipe.images or pairing.images, lr=recipe.lr or pairing.lr, slide=recipe.slide or pairing.slide
    )


def text(leaf: Leaf, bases: str = BASES) -> str:
    """Return the source of a leaf.

    Args:
        leaf: what to write.
        bases: the folder `_base_` as seen from the leaf's folder, or `mmvit::_base_` for any folder.
    """
    head, pairing, recipe = HEADS[leaf.head], PAIRINGS[leaf.head, leaf.dataset], recipe_of(leaf)
    settings: dict[str, Any] = {
        BASES: [
            f"{bases}/heads/{leaf.head}.py",
            f"{bases}/datasets/{pairing.data}.py",
            f"{bases}/schedules/{pairing.schedule}.py",
            f"{bases}/{head.runtime}.py",
        ],
        "model": _model(leaf, recipe),
        "train_dataloader": dict(batch_size=recipe.images),
    }
    if optimizer := {key: Code(value) for key in ("lr", "weight_decay") if (value := getattr(recipe, key))}:
        settings["optim_wrapper"] = dict(optimizer=optimizer)
    settings["auto_scale_lr"] = dict(base_batch_size=pairing.gpus * recipe.images)
    comments = [line for note in _notes(leaf, recipe) for line in textwrap.wrap(note, WIDTH - 2, break_on_hyphens=False)]
    lines = [f"# {line}" for line in comments]
    lines += [f"{key} = {_source(value, WIDTH - len(key) - 3)}" for key, value in settings.items()]
    return "\n".join(lines) + "\n"


def channels_of(kind: type[Pyramid], arch: str) -> list[int]:
    """Return the channels of the four levels, read from the model, because the tables here do not have them."""
    with torch.device("meta"):
        model = kind(arch)  # type: ignore[arg-type]  # every family takes arch first
    return list(model.out_channels)


def _model(leaf: Leaf, recipe: Recipe) -> dict[str, Any]:
    head, pairing, kind = HEADS[leaf.head], PAIRINGS[leaf.head, leaf.dataset], _kind(leaf.family)
    channels, first, row = channels_of(kind, leaf.arch), _first_level(leaf), kind.record.released.get(leaf.arch)
    parts: dict[str, Any] = {}
    if pairing.crop:
        parts["data_preprocessor"] = dict(size=pairing.crop)
    rate = _rates(leaf, recipe).of(leaf.arch)
    backbone = parts["backbone"] = dict(type=f"mmvit.{kind.__name__}", arch=leaf.arch, drop_path_rate=rate)
    if first:
        backbone["out_indices"] = tuple(range(first, len(channels)))
    checkpoint = row and (row.url or f"checkpoints/{leaf.family}_{leaf.arch}.pth")  # without an address: downloaded by hand
    backbone["init_cfg"] = dict(type="Pretrained", checkpoint=checkpoint) if checkpoint else None
    for part, level in head.inputs.items():
        parts[part] = dict(in_channels=channels if level is None else channels[level])
    if first:
        parts["neck"] = dict(in_channels=channels[first:], **(dict(start_level=0) if head.skips else {}))
    for part in head.classifiers:
        parts.setdefault(part, {}).update(
            num_classes=DATASETS[leaf.dataset].classes, **deepcopy(dict(DATASETS[leaf.dataset].head))
        )
        if part == "auxiliary_head" and "loss_decode" in parts[part]:
            parts[part]["loss_decode"]["loss_weight"] = SECOND
    if recipe.slide:
        parts["test_cfg"] = dict(mode="slide", crop_size=pairing.crop, stride=recipe.slide)
    return parts


def _rates(leaf: Leaf, recipe: Recipe) -> Rates:
    return recipe.drop_path or DROP_PATHS[leaf.family]


def _kind(family: str) -> type[Pyramid]:
    return next(kind for kind in families() if kind.record.name == family)


def _first_level(leaf: Leaf) -> int:
    """Return the first level that the backbone has to return."""
    head = HEADS[leaf.head]
    return head.first if _kind(leaf.family).tapped or not head.skips else 0


def _notes(leaf: Leaf, recipe: Recipe) -> list[str]:
    """Return the comments of a leaf, one paragraph each."""
    notes = [recipe.note, f"Drop path: {_rates(leaf, recipe).origin}"]
    if _first_level(leaf) and HEADS[leaf.head].skips:
        notes.append("The map of stride 4 is left out: the head does not use it, so that its tap would get no gradient")
    row = _kind(leaf.family).record.released.get(leaf.arch)
    if row is None:
        notes.append("Weights: the authors released none for this arch; it starts from random weights")
    elif row.url is None:
        notes.append(f"Weights: download them by hand from {row.folder} to the path in init_cfg")
    return [f"{note}." for note in notes]


def _wrong(name: str, what: str, found: str, valid: Iterable[str]) -> InputError:
    known = list(valid)
    hint = nearest(found, known, most=1, otherwise="")
    return InputError(
        f"{name}: {found!r} is no {what}; there are {', '.join(known)}{f'; {hint}' if hint else '.'} "
        "Expected HEAD_FAMILY_ARCH_DATASET, such as upernet_van_b3_cityscapes"
    )


def _source(value: Any, room: float, margin: str = "") -> str:
    """Return a value as ruff formats it: on one line if that has at most `room` characters, else one entry a line.

    A backbone reads better with one entry a line, however short.
    """
    if isinstance(value, str):
        return value if isinstance(value, Code) else f'"{value}"'
    if isinstance(value, dict):
        opening, closing, entries = "dict(", ")", [(f"{key}=", entry) for key, entry in value.items()]
    elif isinstance(value, list):
        opening, closing, entries = "[", "]", [("", entry) for entry in value]
    else:
        return repr(value)
    flat = f"{opening}{', '.join(key + _source(entry, inf) for key, entry in entries)}{closing}"
    if room == inf or (len(flat) <= room and "arch=" not in flat):
        return flat
    inner = margin + "    "
    lines = [f"{inner}{key}{_source(entry, WIDTH - len(inner) - len(key) - 1, inner)},\n" for key, entry in entries]
    return f"{opening}\n{''.join(lines)}{margin}{closing}"
