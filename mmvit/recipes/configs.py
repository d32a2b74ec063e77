"""Names and text of the configs: a leaf, `configs/HEAD_FAMILY_ARCH_DATASET.py`, is written from `tables`.

`text` writes a leaf, `parse` reads its name, `committed` lists the leaves of the repository. The command is
`tools/make_config.py`.
"""

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError, nearest
from ..pyramid import Pyramid
from ..weights.released import Released
from ..zoo import families
from .published_results import PUBLISHED
from .tables import DROP_PATHS, GPUS, HEADS, PAIRINGS, RECIPES, Leaf, Rates

BASES = "_base_"
WIDTH = 128  # length of a line, as in pyproject.toml


class Code(str):
    """Python source, printed as it is: `1e-4 / 1.4` says more than its value."""


@dataclass(frozen=True)
class Setup:
    """Complete settings of a leaf's training, from its published recipe or ours; see `tables.Recipe`.

    Attributes:
        lr, weight_decay: None if they are the schedule's.
    """

    note: str
    published: bool
    images: int
    drop_path: Rates
    lr: str | None
    weight_decay: str | None
    slide: tuple[int, int] | None


def make(wanted: Iterable[Leaf], out: Path, force: bool = False) -> list[Path]:
    """Write leaves to the folder `out`, all or none, and return their paths.

    Their bases are the folder `_base_` beside them, or else those of the installed package.

    Raises:
        InputError: a file exists with other content, and `force` is not given.
    """
    bases = BASES if (out / BASES).is_dir() else f"mmvit::{BASES}"
    files = {out / f"{leaf.name}.py": text(leaf, bases) for leaf in wanted}
    differing = [path for path, content in files.items() if path.is_file() and path.read_text() != content]
    if differing and not force:
        raise InputError(
            f"{', '.join(map(str, differing))}: the file exists with other content; nothing was written. "
            "--force overwrites, --out DIR writes elsewhere"
        )
    out.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        path.write_text(content)
    return list(files)


def committed() -> list[Leaf]:
    """Return every pairing with a published result, and each family's small arch with every head on every dataset."""
    leaves = {leaf for row in PUBLISHED for leaf in row.leaves()}
    leaves |= {Leaf(head, name, _kind(name).small, data) for head, data in PAIRINGS for name in DROP_PATHS}
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
    archs, arch = _kind(family).archs, rest.removeprefix(family).removeprefix("_")
    if arch not in archs:
        raise _wrong(name, f"arch of {family}", arch, archs)
    return Leaf(head, family, arch, dataset)


def setup_of(leaf: Leaf) -> Setup:
    """Return the settings of a leaf: those of the first recipe that covers it, completed by its pairing and family."""
    pairing, rates = PAIRINGS[leaf.head, leaf.dataset], DROP_PATHS[leaf.family]
    recipe = next((recipe for recipe in RECIPES if recipe.covers(leaf)), None)
    if recipe is None:
        note = f"No published recipe; ours: {pairing.ours}"
        return Setup(note, False, pairing.images, rates, pairing.lr, None, pairing.slide)
    return Setup(
        f"Recipe: {recipe.source}" if recipe.published else f"No published recipe, {recipe.source}",
        recipe.published,
        recipe.images or pairing.images,
        recipe.drop_path or rates,
        recipe.lr or pairing.lr,
        recipe.weight_decay,
        recipe.slide or pairing.slide,
    )


def text(leaf: Leaf, bases: str = BASES) -> str:
    """Return the source of a leaf.

    Args:
        leaf: what to write.
        bases: the folder `_base_` as seen from the leaf's folder, or `mmvit::_base_` for any folder.
    """
    head, pairing, setup = HEADS[leaf.head], PAIRINGS[leaf.head, leaf.dataset], setup_of(leaf)
    settings: dict[str, Any] = {
        BASES: [
            f"{bases}/heads/{leaf.head}.py",
            f"{bases}/datasets/{pairing.data}.py",
            f"{bases}/schedules/{pairing.schedule}.py",
            f"{bases}/{head.runtime}.py",
        ],
        "model": _model(leaf, setup),
        "train_dataloader": dict(batch_size=setup.images),
    }
    if optimizer := {key: Code(value) for key in ("lr", "weight_decay") if (value := getattr(setup, key))}:
        settings["optim_wrapper"] = dict(optimizer=optimizer)
    settings["auto_scale_lr"] = dict(base_batch_size=GPUS * setup.images)
    comments = [line for note in _notes(leaf, setup) for line in textwrap.wrap(note, WIDTH - 2, break_on_hyphens=False)]
    lines = [f"# {line}" for line in comments]
    lines += [_render(f"{key} = ", value, 0) for key, value in settings.items()]
    return "\n".join(lines) + "\n"


def channels_of(kind: type[Pyramid], arch: str) -> list[int]:
    """Return the channels of the four levels, read from the model, because the tables here do not have them."""
    with torch.device("meta"):
        model = kind(arch)  # type: ignore[arg-type]  # every family takes arch first
    return list(model.out_channels)


def _model(leaf: Leaf, setup: Setup) -> dict[str, Any]:
    head, pairing = HEADS[leaf.head], PAIRINGS[leaf.head, leaf.dataset]
    kind = _kind(leaf.family)
    channels = channels_of(kind, leaf.arch)
    checkpoint = _checkpoint(leaf)
    parts: dict[str, Any] = {}
    if pairing.crop:
        parts["data_preprocessor"] = dict(size=pairing.crop)
    backbone = parts["backbone"] = dict(
        type=f"mmvit.{kind.__name__}", arch=leaf.arch, drop_path_rate=setup.drop_path.of(leaf.arch)
    )
    first = _first_level(leaf)
    if first:
        backbone["out_indices"] = tuple(range(first, len(channels)))
    backbone["init_cfg"] = dict(type="Pretrained", checkpoint=checkpoint) if checkpoint else None
    for part, level in head.inputs.items():
        parts[part] = dict(in_channels=channels if level is None else channels[level])
    if first:
        parts["neck"] = dict(in_channels=channels[first:], start_level=0)
    for part in head.classifiers:
        parts.setdefault(part, {})["num_classes"] = pairing.classes
    if setup.slide:
        parts["test_cfg"] = dict(mode="slide", crop_size=pairing.crop, stride=setup.slide)
    return parts


def _kind(family: str) -> type[Pyramid]:
    return next(kind for kind in families() if kind.family == family)


def _released(leaf: Leaf) -> Released | None:
    return _kind(leaf.family).released.get(leaf.arch)


def _checkpoint(leaf: Leaf) -> str | None:
    """Return the URL of the released file, the path of a file that must be downloaded by hand, or None."""
    row = _released(leaf)
    if row is None:
        return None
    return row.url or f"checkpoints/{leaf.family}_{leaf.arch}.pth"


def _first_level(leaf: Leaf) -> int:
    """Return the first level that the backbone has to return."""
    return HEADS[leaf.head].first if _kind(leaf.family).tapped else 0


def _notes(leaf: Leaf, setup: Setup) -> list[str]:
    """Return the comments of a leaf, one paragraph each."""
    notes = [setup.note, f"Drop path: {setup.drop_path.origin}"]
    if _first_level(leaf):
        notes.append("The map of stride 4 is left out: the head does not use it, so that its tap would get no gradient")
    row = _released(leaf)
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


def _render(prefix: str, value: Any, indent: int) -> str:
    """Return `prefix` and the value as ruff formats them: on one line if it fits, else one entry a line."""
    margin = " " * indent
    flat = f"{margin}{prefix}{_flat(value)}"
    room = WIDTH - bool(indent)  # for the comma after an entry
    if (len(flat) <= room and not _is_block(value)) or not isinstance(value, dict | list):
        return flat
    if isinstance(value, dict):
        opening, closing = "dict(", ")"
        entries = [_render(f"{key}=", entry, indent + 4) for key, entry in value.items()]
    else:
        opening, closing = "[", "]"
        entries = [_render("", entry, indent + 4) for entry in value]
    return "\n".join([f"{margin}{prefix}{opening}", *(f"{entry}," for entry in entries), f"{margin}{closing}"])


def _is_block(value: Any) -> bool:
    """Return whether a value reads better with one entry a line: a backbone."""
    return isinstance(value, dict) and "arch" in value


def _flat(value: Any) -> str:
    match value:
        case Code():
            return str(value)
        case str():
            return f'"{value}"'
        case dict():
            return f"dict({', '.join(f'{key}={_flat(entry)}' for key, entry in value.items())})"
        case list():
            return f"[{', '.join(map(_flat, value))}]"
        case _:
            return repr(value)
