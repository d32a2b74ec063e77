"""What labelling tools write: a file a format, a row of `FORMATS` each."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ...errors import InputError, first_few, nearest
from ..description import Collection
from ..folder import Folder, listed_splits, named_lists
from . import coco, cvat, label_maps, label_studio, labelme, masks, objects, voc, yolo


def in_files(suffix: str, is_ours: Callable[[Any], bool]) -> Callable[[Folder], bool]:
    """Return what recognises a format by the content of the first files that end in a suffix."""
    return lambda folder: any(is_ours(folder.content(file)) for file in folder.of(suffix)[:5])


class Format(NamedTuple):
    """A way in which labels are written down."""

    title: str  # as people call it
    recognise: Callable[[Folder], bool]  # whether a folder has it; reads little
    read: Callable[[Folder], Collection]  # the folder's pictures and labels
    maps: bool = False  # whether it labels pixels, not objects
    lists: tuple[str, ...] = ()  # where lists of its splits are looked for: folders' names, "" for any above the pictures


IMAGE_SETS = ("Main", "ImageSets", "Segmentation")  # of Pascal VOC; a picture may be in several
OF_OBJECTS, OF_PIXELS = (*IMAGE_SETS, ""), ("Segmentation", *IMAGE_SETS, "")
FORMATS = {  # what comes first wins where tools leave several: a COCO file beside the label maps that were drawn from it
    "coco": Format("COCO JSON", coco.recognise, coco.read),
    "label-studio": Format("Label Studio JSON", in_files(".json", label_studio.is_ours), label_studio.read, lists=OF_OBJECTS),
    "cvat": Format("CVAT for images XML", in_files(".xml", cvat.is_ours), cvat.read),
    "yolo": Format("YOLO text", yolo.recognise, yolo.read),
    "voc": Format("Pascal VOC XML", in_files(".xml", voc.is_ours), voc.read, lists=OF_OBJECTS),
    "labelme": Format("LabelMe JSON", in_files(".json", labelme.is_ours), labelme.read, lists=OF_OBJECTS),
    "masks": Format("one mask an object", masks.recognise, masks.read, lists=OF_OBJECTS),
    "maps": Format("label maps", label_maps.recognise, label_maps.read, maps=True, lists=OF_PIXELS),
    "objects": Format("maps of classes and objects", objects.recognise, objects.read_objects, lists=OF_PIXELS),
}


def read(folder: Folder, name: str | None = None, pixels: bool | None = None) -> Collection:
    """Return what a folder holds.

    Args:
        name: a key of FORMATS; None recognises it.
        pixels: True looks for label maps first, which objects can be turned into as well; False only for objects.

    Raises:
        InputError: no such format, or nothing was recognised.
    """
    if name is not None and name not in FORMATS:
        raise InputError(f"--format {name}: no such format; {nearest(name, FORMATS)}")
    wanted = [row for row in FORMATS.values() if pixels is not False or not row.maps]
    found = [FORMATS[name]] if name is not None else [row for row in wanted if row.recognise(folder)]
    if pixels:
        found.sort(key=lambda row: not row.maps)
    if not found:
        kinds = ", ".join(sorted({file.suffix or file.name for file in folder.files}))
        titles = ", ".join(row.title for row in wanted)
        if yolo.looks_like(folder):
            yolo.names_of(folder)  # which says that nothing names the classes
        broken = f" Broken: {first_few(list(folder.broken.values()))}." if folder.broken else ""
        if lossy := label_maps.lossy_of(folder):
            broken += f" {first_few(lossy, 2)}: perhaps {label_maps.CHANGED}."
        raise InputError(
            f"{folder.root}: labels were not recognised. Expected one of {titles}; found files {kinds}.{broken} "
            "Export the labels again in one of these formats"
        )
    collection = found[0].read(folder)
    collection.format = found[0].title
    _take_lists(folder, collection, found[0].lists)
    if folder.broken:
        collection.aside["label files that are broken"] += folder.broken.values()
    if folder.links:
        collection.aside["links to folders"] += map(str, folder.links)
    if len(found) > 1:
        others = ", ".join(f"{row.title} (--format {key})" for key, row in FORMATS.items() if row in found[1:])
        collection.notes.append(f"labels are read as {found[0].title}; the folder has {others}, too")
    return collection


def _take_lists(folder: Folder, collection: Collection, names: Sequence[str]) -> None:
    """Give pictures the splits of the lists that name them."""
    pictures = {picture.file for picture in collection.pictures}
    above = {parent for file in pictures for parent in file.parents}
    named = named_lists(folder)
    lists = [
        entry for name in names for entry in named if entry[0].parent.name == name or (not name and entry[0].parent in above)
    ]
    found = listed_splits(folder, lists, pictures)
    for picture in collection.pictures:
        picture.split = found.get(picture.file, picture.split)
    if found:
        collection.splits = "ImageSets" if any(file.parent.name in IMAGE_SETS for file, _ in lists) else "lists"
