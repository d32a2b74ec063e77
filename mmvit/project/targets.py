"""From what a folder holds to what a model shall learn: boxes, masks, classes of pixels, or one object against the rest."""

from collections.abc import Sequence
from statistics import median

from ..errors import InputError, first_few
from .description import BACKGROUND, FOREGROUND, IGNORED, Collection, area_of
from .plan import Task

MOSTLY = 0.9  # share of objects with a drawn area from which on masks are learned; share of a picture that areas fill

AREAS = "objects fill their pictures, each class once: areas rather than objects (COCO-Stuff); --task classes draws label maps"


def name_classes(collection: Collection, names: Sequence[str]) -> None:
    """Give the classes of label maps their names, in the order of the values.

    Raises:
        InputError: another number of names, or labels that have names already.
    """
    if not collection.has_maps:
        raise InputError(f"--classes: labels of {collection.format} have names: {', '.join(collection.classes)}")
    there = {name for picture in collection.pictures for name in picture.pixels}
    if len(names) == len(there):  # a value between others that no map has needs no name
        kept = [index for index, name in enumerate(collection.classes) if name in there]
        collection.classes = [collection.classes[index] for index in kept]
        collection.values = [collection.values[index] for index in kept]
    if len(names) != len(collection.classes):
        raise InputError(
            f"--classes: {len(names)} names ({', '.join(names)}), but the label maps have {len(collection.classes)} values: "
            f"{first_few(collection.values)}"
        )
    renamed = dict(zip(collection.classes, names, strict=True))
    collection.classes = list(names)
    collection.notes = [note for note in collection.notes if "--classes" not in note]
    for picture in collection.pictures:
        picture.pixels = type(picture.pixels)({renamed[name]: count for name, count in picture.pixels.items()})


def retarget(collection: Collection, asked: Task | None) -> tuple[Task, str]:
    """Change a collection in place so that a task can be learned from it; return the task, and why.

    Raises:
        InputError: the labels do not have what the task needs.
    """
    if collection.has_maps:
        return _of_maps(collection, asked)
    things = collection.things()
    drawn = sum(thing.has_mask for thing in things)
    task: Task = asked or ("masks" if things and drawn >= MOSTLY * len(things) else "boxes")
    if task == "boxes":
        why = f"{drawn} of {len(things)} objects have drawn areas" if drawn else "objects have no drawn areas"
        return task, f"boxes: {why}" if asked is None else "boxes, as asked for"
    if drawn < len(things):
        _without_boxes(collection, task)
    if task == "masks":
        if asked is None and _are_areas(collection):
            collection.notes.append(AREAS)
        why = "objects have drawn areas (--task boxes for boxes alone)"
        return task, f"masks: {why}" if asked is None else "masks, as asked for"
    collection.direct = {}
    return task, _drawn_classes(collection, task)


def _of_maps(collection: Collection, asked: Task | None) -> tuple[Task, str]:
    if asked in ("boxes", "masks"):
        raise InputError(f"--task {asked}: label maps do not tell one object from the next. Use --task classes")
    if asked == "binary" and len(collection.classes) != 2:
        raise InputError(
            f"--task binary: expected label maps with two values, found {len(collection.classes)} classes: "
            f"{first_few(collection.classes)}. Use --task classes"
        )
    if asked is None and (collection.classes == [BACKGROUND, FOREGROUND] or collection.values == [0, IGNORED]):
        return "binary", "binary: label maps have two values (--task classes for two ordinary classes)"
    return asked or "classes", "classes of pixels, from label maps" if asked is None else f"{asked}, as asked for"


def _are_areas(collection: Collection) -> bool:
    """Return whether objects look like areas of classes: no picture has one twice, and several together fill most pictures."""
    labelled = [picture for picture in collection.pictures if picture.things]
    several = [picture for picture in labelled if len(picture.things) > 1]
    if 2 * len(several) <= len(labelled) or any(max(picture.counts().values(), default=0) > 1 for picture in labelled):
        return False
    filled = [sum(map(area_of, picture.things)) / (picture.width * picture.height) for picture in several]
    return median(filled) > MOSTLY


def _without_boxes(collection: Collection, task: Task) -> None:
    """Leave out the objects that have a box alone."""
    for picture in collection.pictures:
        for thing in picture.things:
            if not thing.has_mask:
                collection.aside[f"boxes without a drawn area, which {task} need"].append(f"{picture.file} ({thing.name})")
        picture.things = [thing for thing in picture.things if thing.has_mask]
    collection.direct = {}
    if not collection.things():
        notes = "".join(f"; {note}" for note in collection.notes)
        raise InputError(f"--task {task}: no object has a drawn area, only boxes. Use --task boxes{notes}")


def _drawn_classes(collection: Collection, task: Task) -> str:
    if task == "binary":
        for picture in collection.pictures:
            picture.things = [thing._replace(name=FOREGROUND) for thing in picture.things]
        collection.classes = [BACKGROUND, FOREGROUND]
        return "binary, as asked for: all objects against the rest, drawn into label maps"
    collection.classes = [BACKGROUND, *(name for name in collection.classes if name != BACKGROUND)]
    if len(collection.classes) > IGNORED:
        raise InputError(
            f"--task {task}: {len(collection.classes)} classes, background included. Expected {IGNORED} at most, which a label "
            "map can have. Use --task masks"
        )
    return "classes of pixels, as asked for: objects were drawn into label maps, small ones above large ones"
