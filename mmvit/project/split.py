"""Splits by picture: classes in proportion, and pictures that belong together in one split."""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ..compat.python import sha256_of
from ..errors import InputError, counted, first_few
from .description import Collection, Picture
from .folder import Folder


def doubled(folder: Folder, files: Iterable[Path]) -> list[list[Path]]:
    """Return the groups of files with the same content."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for file in files:
        by_size[(folder.root / file).stat().st_size].append(file)
    by_content: dict[str, list[Path]] = defaultdict(list)
    for alike in by_size.values():
        for file in alike if len(alike) > 1 else ():
            by_content[sha256_of(folder.root / file)].append(file)
    return [same for same in by_content.values() if len(same) > 1]


def complete(collection: Collection, share: float, seed: int, pattern: str | None, same: Sequence[Sequence[Path]]) -> str:
    """Give every picture a split, in place, and return a sentence on what was decided.

    Args:
        share: part of the pictures that validates, where the folder says nothing.
        seed: the same seed gives the same splits.
        pattern: a regular expression; pictures for which it finds the same text stay together.
        same: files with the same content, which stay together.

    Raises:
        InputError: the pattern is none, finds nothing, or leaves fewer than two groups.
    """
    found = Counter(picture.split for picture in collection.pictures)
    loose = [picture for picture in collection.pictures if picture.split is None]
    told = ""
    if loose and found["train"]:
        collection.pictures = [picture for picture in collection.pictures if picture.split is not None]
        collection.aside["pictures that are in no split"] += [str(picture.file) for picture in loose]
        told = f"; {counted(len(loose), 'picture')} in no split, left aside ({first_few([picture.file for picture in loose])})"
    elif loose and found["val"]:
        for picture in loose:
            picture.split = "train"
        told = "; pictures that are in no split train"
    if found["val"] and (found["train"] or loose):
        return f"as in {collection.splits}{told}"
    pool = [picture for picture in collection.pictures if picture.split != "test"]
    if found["test"] and not pool:
        pool = collection.pictures
    groups = _groups(pool, pattern, same)
    if len(groups) < 2:
        names = f"{counted(len(pool), 'labelled picture')}, {first_few([picture.file for picture in pool])}"
        raise InputError(f"{names}: they cannot be split into training and validation. Expected at least two, in two groups")
    chosen = _validation(groups, share, seed)
    for index, group in enumerate(groups):
        for picture in group:
            picture.split = "val" if index in chosen else "train"
    what = "groups" if pattern else "pictures"
    if found["val"]:
        told = f"; {collection.splits}: none for training, so those for validation were split"
    kept = f"; test as in {collection.splits}" if found["test"] and len(pool) < len(collection.pictures) else ""
    return f"{share:.0%} of the {what} for validation, classes in proportion (--val {share:g} --seed {seed}){kept}{told}"


def _groups(pool: Sequence[Picture], pattern: str | None, same: Sequence[Sequence[Path]]) -> list[list[Picture]]:
    leader = _leaders(same)
    groups: dict[object, list[Picture]] = defaultdict(list)
    try:
        compiled = re.compile(pattern) if pattern else None
    except re.error as error:
        raise InputError(f"--group-by {pattern}: {error}. Expected a regular expression such as '^clip[0-9]+'") from error
    matched = 0
    for picture in pool:
        found = compiled.search(picture.file.as_posix()) if compiled else None
        matched += found is not None
        key = (found.groups() or found[0]) if found else leader(picture.file)
        groups[key].append(picture)
    if compiled and not matched:
        raise InputError(f"--group-by {pattern}: no picture's path has it, such as {pool[0].file}")
    return list(groups.values())


def _leaders(same: Sequence[Sequence[Path]]) -> Callable[[Path], Path]:
    """Return what names the pictures that belong with one: those of the same content, and Roboflow's versions of a picture."""
    above: dict[Path, Path] = {}

    def leader(file: Path) -> Path:
        name = file.with_name(file.stem.rpartition(".rf.")[0] or file.name)
        while name in above:
            name = above[name]
        return name

    for first, *others in same:
        for file in others:
            if leader(file) != leader(first):
                above[leader(file)] = leader(first)
    return leader


def _validation(groups: Sequence[Sequence[Picture]], share: float, seed: int) -> set[int]:
    """Return which groups validate: iterative stratification (Sechidis et al., 2011) for two splits.

    The rarest class goes first; each of its groups goes to the split that lacks most of the class.
    """
    order = list(range(len(groups)))
    random.Random(seed).shuffle(order)
    # presence, not the number of objects: a picture with a hundred cells would outweigh the others
    classes = [{name for picture in group for name, count in picture.counts().items() if count} for group in groups]
    wanted = {name: share * count for name, count in Counter(name for found in classes for name in found).items()}
    room = max(1.0, share * sum(map(len, groups)))  # pictures that validation still takes
    chosen: set[int] = set()
    left = dict.fromkeys(order)
    while left:
        counts = Counter(name for index in left for name in classes[index])
        if not counts:
            rest = list(left)
        else:
            rare = min(counts, key=lambda name: (counts[name], name))
            rest = [index for index in left if rare in classes[index]]
        for index in rest:
            need = wanted[rare] if counts else room
            if need >= 0.5 and room >= 0.5 * len(groups[index]):
                chosen.add(index)
                room -= len(groups[index])
                for name in classes[index]:
                    wanted[name] -= 1
            left.pop(index)
    labelled = [index for index in order if classes[index]]
    if len(labelled) > 1 and not chosen & set(labelled):  # few groups: one validates whose classes others have, too
        counts = Counter(name for index in labelled for name in classes[index])
        best = max(labelled, key=lambda index: (min(counts[name] for name in classes[index]), -len(groups[index])))
        chosen = {best, *sorted(chosen)[1:]}  # instead of one without labels
    elif not chosen or len(chosen) == len(groups):
        chosen = {min(order, key=lambda index: len(groups[index]))}
    return chosen
