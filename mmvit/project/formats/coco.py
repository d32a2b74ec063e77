"""COCO JSON, as COCO, CVAT, Label Studio and Roboflow write it: one file, or one a split.

Files that a run can read as they are, are used as they are: see `Collection.direct`.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...checks.files import rle_fault
from ...config.datasets import SPLITS
from ...data.annotations import OF_PANOPTIC, check_annotations, check_lists, check_masks, is_panoptic
from ...errors import InputError, first_few
from ..description import Collection, Picture, Thing
from ..folder import Folder, folder_split, split_of
from ..gather import UNKNOWN, Gathering
from .shapes import from_polygons

WHOLE = "all"
STRAY = "objects of a picture that the file does not list"
LISTS = ("images", "annotations", "categories")


def recognise(folder: Folder) -> bool:
    return bool(_files(folder))


def read(folder: Folder) -> Collection:
    """Return the pictures of a folder with COCO's files.

    Raises:
        InputError: two files are for the same split, and none of them is called `instances`; or all are panoptic.
    """
    found = _files(folder)
    objects = [file for file in found if not any(map(is_panoptic, folder.content(file)["annotations"]))]
    if not objects:
        raise InputError(
            f"{folder.root}: {first_few(found)}: annotations of COCO's panoptic format, whose segments lie in PNG files, which "
            f"is not read. For objects {OF_PANOPTIC}; for classes of pixels, its panoptic2semantic_segmentation.py makes label "
            "maps (then --format maps)"
        )
    files = _one_a_split(objects)
    gathering = Gathering(folder, _classes([folder.content(file) for file in files.values()]))
    for file in found:
        if file not in files.values():
            gathering.note("COCO files beside those that are read", file)
    prefixes = {split: _read(gathering, file, None if split == WHOLE else split) for split, file in files.items()}
    collection = gathering.finish()
    collection.splits = "the annotation files, one a split"
    direct = {split: (file, prefix) for split, file in files.items() if (prefix := prefixes[split]) is not None}
    if len(direct) == len(files) and WHOLE not in files and _same_order(folder, files, collection.classes):
        collection.direct = direct
    return collection


def _files(folder: Folder) -> list[Path]:
    """Return the files with pictures, boxes and classes; those with captions alone have no classes."""
    contents = {file: folder.content(file) for file in folder.of(".json")}
    return [
        file
        for file, content in contents.items()
        if isinstance(content, dict) and all(isinstance(content.get(name), list) for name in LISTS)
    ]


def _one_a_split(files: list[Path]) -> dict[str, Path]:
    """Return the file of each split, WHOLE for one that names none."""
    by_split: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        by_split[split_of(file) or WHOLE].append(file)
    if len(by_split) > 1 and WHOLE in by_split:
        by_split.pop(WHOLE)  # the whole, beside its splits
    chosen = {}
    for split, several in sorted(by_split.items(), key=lambda item: (*SPLITS, WHOLE).index(item[0])):
        best = [file for file in several if "instances" in file.name] or several
        if len(best) > 1:
            whose = "the same pictures" if split == WHOLE else split
            raise InputError(f"several COCO files for {whose}: {first_few(best)}. Keep one")
        chosen[split] = best[0]
    return chosen


def _classes(contents: list[Mapping[str, Any]]) -> list[str]:
    """Return the names of the categories in the order of the files, without Roboflow's heading of all others."""
    listed = [entry for content in contents for entry in content["categories"] if isinstance(entry, dict) and entry.get("name")]
    used = {entry.get("category_id") for content in contents for entry in content["annotations"] if isinstance(entry, dict)}
    above = {entry.get("supercategory") for entry in listed if entry["name"] != entry.get("supercategory")}
    kept = [entry for entry in listed if entry.get("id") in used or entry["name"] not in above]
    return list(dict.fromkeys(str(entry["name"]) for entry in kept))


def _same_order(folder: Folder, files: Mapping[str, Path], classes: list[str]) -> bool:
    """Return whether every file lists the classes in one order and once: mmdet numbers them in the order of the file."""
    for file in files.values():
        names = [str(entry.get("name")) for entry in folder.content(file)["categories"] if isinstance(entry, dict)]
        if [name for name in names if name in classes] != classes:
            return False
    return True


def _read(gathering: Gathering, file: Path, split: str | None) -> str | None:
    """Read a file into the gathering; if mmdet can read it as it is, return the folder of its pictures."""
    content, before = gathering.folder.content(file), gathering.noted
    pictures: dict[Any, Picture] = {}
    prefixes, files = set(), set()
    for entry in content["images"]:
        if not _has_id(entry) or not isinstance(entry.get("file_name"), str):
            gathering.note(UNKNOWN, f"{file} (an image without id or file_name)")
            continue
        named, said = entry["file_name"], (entry.get("width"), entry.get("height"))
        picture = gathering.picture(named, file, said, split or folder_split(Path(named)))
        if picture is not None:
            pictures[entry["id"]] = picture
            prefixes.add(_prefix(picture.file, named))
            if picture.file in files:  # mmdet would read two pictures, each with its part
                gathering.doubt("pictures that a file lists twice, read as one", f"{file}: {named}")
            files.add(picture.file)
    _objects(gathering, content, pictures, file)
    clean = gathering.noted == before and len(prefixes) == 1 and not gathering.folder.marked(file)
    return prefixes.pop() if clean and _usable(content, str(file), gathering.collection.classes) else None


def _usable(content: Mapping[str, Any], label: str, classes: list[str]) -> bool:
    """Return whether mmdet and pycocotools read all of a file as it is."""
    annotations = content["annotations"]
    try:
        check_lists(content, label, classes)
        check_annotations(content, label)
        check_masks(content, label, [place for place, entry in enumerate(annotations) if entry.get("segmentation")])
    except InputError:
        return False
    # pycocotools takes an id of 0, as Roboflow's first object has, for "not found"
    return all(
        isinstance(entry["id"], int) and entry["id"] > 0 and isinstance(entry.get("iscrowd"), int) for entry in annotations
    )


def _has_id(entry: Any) -> bool:
    return isinstance(entry, dict) and _is_id(entry.get("id"))


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str)


def _prefix(file: Path, named: str) -> str | None:
    """Return the folder before a file name that leads to the file, None if the name does not lead there."""
    path = file.as_posix()
    return path.removesuffix(named) if path == named or path.endswith("/" + named) else None


def _objects(gathering: Gathering, content: Mapping[str, Any], pictures: Mapping[Any, Picture], file: Path) -> None:
    listed = {entry["id"] for entry in content["images"] if _has_id(entry)}
    meant = {entry["image_id"] for entry in content["annotations"] if isinstance(entry, dict) and _is_id(entry.get("image_id"))}
    if listed and meant and listed.isdisjoint(meant):
        ours, theirs = (first_few(sorted(map(repr, ids)), 3) for ids in (meant, listed))
        raise InputError(
            f"{gathering.folder.root / file}: no object has a picture: image_id is {ours}, the id of images {theirs}. Expected "
            "the same in both, numbers or texts"
        )
    names = {entry["id"]: str(entry.get("name") or "") for entry in content["categories"] if _has_id(entry)}
    for entry in content["annotations"]:
        where = f"{file} (id {entry.get('id')})" if isinstance(entry, dict) else str(file)
        try:
            picture = pictures.get(entry["image_id"])
            if entry["image_id"] not in listed:
                gathering.note(STRAY, f"{where}: image_id {entry['image_id']!r}")
                continue
            if float(entry.get("ignore") or 0):  # mmdet leaves these out without a word
                gathering.note("objects marked with ignore", where)
                continue
            thing = _thing(entry, names.get(entry["category_id"], ""))
        except (KeyError, TypeError, ValueError, AttributeError):
            gathering.note(UNKNOWN, where)
            continue
        if picture is not None:  # else its picture was noted
            gathering.add(picture, thing, where)


def _thing(entry: Mapping[str, Any], name: str) -> Thing | None:
    crowd, drawn = bool(float(entry.get("iscrowd") or 0)), entry.get("segmentation")  # "0" is a number, and true
    box: Any = tuple(float(value) for value in entry.get("bbox") or ())
    if len(box) not in (0, 4):
        return None
    if isinstance(drawn, dict) and drawn.get("size") and drawn.get("counts"):
        from pycocotools import mask

        if rle_fault(drawn) is not None:
            return None
        (height, width), counts = drawn["size"], drawn["counts"]
        if not isinstance(counts, str):
            lengths = dict(size=[height, width], counts=list(map(int, counts)))
            counts = mask.frPyObjects(lengths, height, width)["counts"].decode()
        rle = dict(size=[height, width], counts=counts)
        return Thing(name, box or tuple(mask.toBbox(rle).tolist()), rle=rle, crowd=crowd)
    if isinstance(drawn, list) and all(isinstance(value, int | float) for value in drawn):
        drawn = [drawn]  # one polygon, as VIA writes it
    polygons = [polygon for polygon in drawn if isinstance(polygon, list)] if isinstance(drawn, list) else []
    if (shape := from_polygons(name, polygons)) is not None:
        return shape._replace(crowd=crowd, box=box or shape.box)
    return Thing(name, box, crowd=crowd) if box else None
