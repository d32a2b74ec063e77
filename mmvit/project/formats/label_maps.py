"""Label maps: an image for each picture, whose values or colours are classes; masks of 0 and 255 are two classes."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...data.label_maps import OF_CITYSCAPES, ORIGINAL_IDS
from ...errors import InputError, first_few
from ..description import BACKGROUND, FOREGROUND, IGNORED, Collection, Picture
from ..folder import Folder, folder_split, in_common, plain
from ..gather import NO_LABELS, NO_PICTURE, OTHER_SIZE, UNREADABLE
from .label_lists import listed_colours, listed_names
from .label_pixels import LOSSLESS, LOSSY, Colour, are_colours, counts_of, read_map

MAP_FOLDERS = re.compile(r"mask|label|annot|(?<![a-z])anns?(?![a-z])|(?<![a-z])gt|gt(?![a-z])|truth|segment", re.IGNORECASE)
MAP_NAMES = re.compile(
    r"((^|[_\-. ]|(?<=\d))(labeltrainids|labelids|instanceids|masks?|labels?|seg|segmentation|gt|groundtruth|gtfine|watershed"
    r"|gtfine_color)"
    r"|[_-][lp])$",  # not bowl, nor cup
    re.IGNORECASE,
)
TRAINED = re.compile(r"_gt[a-z]*_labelTrainIds\.", re.IGNORECASE)  # of Cityscapes; COCO-Stuff's have no _gt
OBJECTS = re.compile(r"object|instance", re.IGNORECASE)  # numbers of single objects, as in Pascal VOC's SegmentationObject
SPARE = "further label maps of the same pictures, such as those of single objects"
MAPS_OF_PANOPTIC = "of COCO's panoptic PNG files, panopticapi's panoptic2semantic_segmentation.py makes label maps"
SAVE_NUMBERS = "palettes differ from map to map; if their numbers are classes, save them as grey PNG"
MOST = 255
CHANGED = "label maps saved as JPEG, which changes the numbers of classes (save them as PNG)"


def recognise(folder: Folder) -> bool:
    pairs, _ = pairs_of(folder)
    return (bool(pairs) and listed_colours(folder) is not None) or any(
        read_map(folder, label) is not None for label in list(pairs.values())[:3]
    )


def read(folder: Folder) -> Collection:
    """Return the pictures of a folder with label maps.

    Raises:
        InputError: colours without a list of what they mean, or more values than a label map can have.
    """
    pairs, spare = pairs_of(folder)
    collection = Collection([])
    shared = {label for label, count in Counter(pairs.values()).items() if count > 1}
    found = []
    for file, label in pairs.items():
        if label in shared:
            collection.aside["pictures that have one label map together"].append(f"{file} ({label})")
            continue
        size, other = folder.size(file), folder.size(label)
        if size is None or other is None:
            collection.aside[UNREADABLE].append(str(label if size else file))
        elif size != other:
            collection.aside[OTHER_SIZE].append(f"{file} ({size[0]} x {size[1]}, label map: {other[0]} x {other[1]})")
        elif not (counts := counts_of(folder, label))[0]:
            collection.aside[CHANGED if label.suffix.lower() in LOSSY else UNREADABLE].append(str(label))
        else:
            found.append(counts)
            collection.pictures.append(Picture(file, *size, maps=(label,), split=folder_split(file)))
    for file in sorted(spare):
        collection.aside[SPARE].append(str(file))
    places = {file.parent for file in pairs}
    for file in sorted(set(folder.pictures) - set(pairs) - set(pairs.values()) - spare):
        pictured = not MAP_NAMES.search(file.stem) and (file.parent in places or not _in_maps(file))
        collection.aside[NO_LABELS if file.suffix.lower() in LOSSY or pictured else NO_PICTURE].append(str(file))
    original = [str(picture.maps[0]) for picture in collection.pictures if picture.maps[0].name.endswith(ORIGINAL_IDS)]
    if original and not {value for counts, _ in found for value in counts} - {IGNORED} <= {*listed_names(folder)}:
        collection.doubts[". ".join(OF_CITYSCAPES)] = original
    if found:
        _name_values(folder, collection, *_in_colours(folder, found))
    return collection


def pairs_of(folder: Folder) -> tuple[dict[Path, Path], set[Path]]:
    """Return the label map of each picture, and further maps of the same pictures.

    A map is the PNG of a picture's name in a folder of labels, or with a word such as `_mask`; a JPEG if there are no others.
    """
    pairs, spare = _paired(folder, LOSSLESS)
    return (pairs, spare) if pairs else _paired(folder, LOSSY)


def lossy_of(folder: Folder) -> list[Path]:
    """Return the files that would be label maps, were they no JPEG."""
    pairs, _ = pairs_of(folder)
    return [label for label in pairs.values() if label.suffix.lower() in LOSSY]


def _paired(folder: Folder, suffixes: Sequence[str]) -> tuple[dict[Path, Path], set[Path]]:
    maps: dict[str, list[Path]] = {}
    for file in folder.of(*suffixes):
        stem = plain(file.stem)
        named = MAP_NAMES.search(stem)
        if named or _in_maps(file):
            for key in {stem, MAP_NAMES.sub("", stem), MAP_NAMES.sub("", MAP_NAMES.sub("", stem))}:
                maps.setdefault(key, []).append(file)
    pairs: dict[Path, Path] = {}
    several: set[Path] = set()
    taken = {file for files in maps.values() for file in files}
    for file in folder.pictures:
        key = plain(file.stem).removesuffix("_leftimg8bit")
        found = [label for label in maps.get(key, ()) if label != file]
        if file in taken:
            found = [label for label in found if _shows(label, file)]
        if found:
            pairs[file] = max(found, key=lambda label: (folder_split(label) == folder_split(file), *_likely(file, label)))
            several.update(found)
    labels = set(pairs.values())
    return {file: label for file, label in _nearest(pairs).items() if file not in labels}, several - labels


def _shows(label: Path, file: Path) -> bool:
    """Return whether of two files that could be maps one is that of the other, by its folders or else by its name."""
    named, other = MAP_NAMES.search(label.stem), MAP_NAMES.search(file.stem)
    return not _in_maps(file, label) and (_in_maps(label, file) or (named is not None and other is None))


def _in_maps(file: Path, other: Path = Path()) -> bool:
    """Return whether a folder's name says that a file is a map, but for the folders that another file has, too."""
    return any(MAP_FOLDERS.search(part) for part in file.parts[:-1] if part not in other.parts[:-1])


def _nearest(pairs: dict[Path, Path]) -> dict[Path, Path]:
    """Return the pairs without pictures of whose map another picture is the likelier: in no folder of maps, or nearer to it."""
    ranks = {file: (not _in_maps(file), in_common(file, label)) for file, label in pairs.items()}
    best: dict[Path, tuple[bool, int]] = {}
    for file, label in pairs.items():
        best[label] = max(ranks[file], best.get(label, (False, 0)))
    return {file: label for file, label in pairs.items() if ranks[file] == best[label]}


def _likely(file: Path, label: Path) -> tuple[int, bool, bool, str]:
    """Return how likely a map is a picture's: by folders of one name, classes; Cityscapes' labelTrainIds are for training."""
    single = bool(OBJECTS.search(label.parent.name) or OBJECTS.search(label.stem.removeprefix(file.stem)))
    return in_common(file, label), not single, "TrainIds" in label.stem, label.as_posix()


def _in_colours(folder: Folder, found: list[tuple[Counter[Any], dict[int, Colour]]]) -> tuple[list[Counter[Any]], bool]:
    """Return the number of pixels of each value or colour of each map, and whether palettes differ from map to map.

    Colours of palettes count instead of values where palettes differ, beside maps of colours, and where the list of colours
    has most of them and numbers them in another way: programs that make files smaller sort colours as they like.
    """
    counted, palettes = [counts for counts, _ in found], [palette for _, palette in found]
    used = {entry for palette in palettes for entry in palette.items() if entry[0] != IGNORED}
    differ = len(used) > len(dict(used))
    names, classes = listed_names(folder), {colour: name for name, colour in (listed_colours(folder) or {}).items()}
    listed = [(value, classes[colour]) for value, colour in used if colour in classes]
    sorted_otherwise = 2 * len(listed) > len(used) and any(names.get(value) != name for value, name in listed)
    if differ or sorted_otherwise or are_colours(value for counts in counted for value in counts):
        for number, palette in enumerate(palettes):
            drawn: Counter[Any] = Counter()
            for value, count in counted[number].items():
                drawn[palette.get(value, value)] += count
            counted[number] = drawn
    return counted, differ


def _name_values(folder: Folder, collection: Collection, found: list[Counter[Any]], differ: bool) -> None:
    """Set the collection's classes, the value or colour of each, and each picture's number of pixels of each class.

    Args:
        found: of each picture, the number of pixels of each value or colour.
        differ: whether their palettes do.
    """
    colours, occurring = listed_colours(folder), {value for counts in found for value in counts}
    coloured = {value for value in occurring if isinstance(value, tuple)}
    if coloured:
        greys = {(value,) * 3 for value in occurring - coloured}
        if colours is None or (coloured | greys).isdisjoint(colours.values()):
            panoptic = "panoptic" in str(collection.pictures[0].maps[0]).lower()
            made = f"; {MAPS_OF_PANOPTIC}" if panoptic else f"; {SAVE_NUMBERS}" if differ else ""
            raise InputError(
                f"{folder.root}: its label maps are coloured ({first_few(sorted(coloured), 3)}), and no file says "
                f"which class a colour is. Add class_dict.csv with lines name,red,green,blue{made}"
            )
        collection.classes, collection.values = list(colours), list(colours.values())
        for picture, counts in zip(collection.pictures, found, strict=True):
            for colour in sorted(value for value in counts if isinstance(value, tuple) and value not in colours.values()):
                share = f"{counts[colour] / counts.total():.1%} of the pixels"
                collection.aside["colours that the list does not have"].append(f"{picture.maps[0]} {colour}: {share}")
    else:
        values = sorted(occurring)
        _by_number(folder, collection, values)
        if IGNORED in values and IGNORED not in collection.values:
            left_out = sum(counts[IGNORED] for counts in found) / sum(counts.total() for counts in found)
            told = f"label maps with 255 (65535 of 16 bits): 255 is no class, and {left_out:.1%} of all pixels are left out"
            collection.doubts[f"{told}; if it is one, a line such as 255 car in classes.txt names it"] = [
                str(picture.maps[0]) for picture, counts in zip(collection.pictures, found, strict=True) if counts[IGNORED]
            ]
    if len(collection.classes) > MOST:
        raise InputError(
            f"{folder.root}: {len(collection.classes)} classes. Expected {MOST} at most, which a label map can have"
        )
    names = dict(zip(collection.values, collection.classes, strict=True))
    if coloured:  # maps that happen to be grey all over have numbers
        names |= {red: name for (red, green, blue), name in names.items() if red == green == blue}
    for picture, counts in zip(collection.pictures, found, strict=True):
        picture.pixels = Counter({names[value]: count for value, count in counts.items() if value in names})


def _by_number(folder: Folder, collection: Collection, values: list[int]) -> None:
    names = listed_names(folder) or _names_of_cityscapes(collection, values)
    if set(values) <= {0, IGNORED} and IGNORED not in names and (IGNORED in values or len(names) <= 2):
        names = _pair(folder, names)
    if len(values) < 2:
        raise InputError(
            f"{folder.root}: every pixel of its label maps is {values[0]}. Expected two values at least, and PNG for the "
            "numbers of classes, which JPEG changes"
        )
    if names and 0 in values and BACKGROUND not in names.values():
        names = {0: BACKGROUND, **names}  # of a list that begins at 1
    if _are_greys(values) and not {*values} - {IGNORED} <= {*names}:
        listed = ", ".join(map(str, values))
        collection.notes.append(
            f"the values {listed} are greys, evenly spread, each of which is taken for a class, 255 included"
        )
    else:
        values = [value for value in values if value != IGNORED or value in names]
    if len(values) > MOST or (values and (values[0] < 0 or values[-1] > 65535)):
        raise InputError(
            f"{folder.root}: label maps with {len(values)} values, from {values[0]} to {values[-1]}. Expected classes"
        )
    if names and set(values) <= {*names}:
        collection.classes, collection.values = [*names.values()], [*names]
        return
    if values == [0, 1]:
        collection.classes, collection.values = [BACKGROUND, FOREGROUND], values
    else:
        if values and values[-1] < min(2 * len(values), MOST):  # a class that few maps have is a class
            values = list(range(values[-1] + 1))
        collection.classes, collection.values = [f"class_{value}" for value in values], values
    if names or values != [0, 1]:
        why = f"a list names {len(names)} classes, and others occur" if names else "nothing names the classes"
        collection.notes.append(f"{why}: they are called by their values; classes.txt or --classes a,b,c names them")


def _names_of_cityscapes(collection: Collection, values: list[int]) -> dict[int, str]:
    """Return the names of the classes of Cityscapes' labelTrainIds, none of other label maps."""
    if not all(TRAINED.search(picture.maps[0].name) for picture in collection.pictures):
        return {}
    from mmseg.datasets import CityscapesDataset  # torch, which other label maps do without

    names = dict(enumerate(CityscapesDataset.METAINFO["classes"]))
    return names if {*values} <= {*names, IGNORED} else {}


def _are_greys(values: Sequence[int]) -> bool:
    """Return whether values are more than two greys that a person can tell apart, such as 0, 128 and 255."""
    evenly = np.linspace(0, IGNORED, len(values))
    return 2 < len(values) < IGNORED // 2 and bool(np.abs(evenly - values).max() <= 1)


def _pair(folder: Folder, names: dict[int, str]) -> dict[int, str]:
    """Return the names of masks of 0 and 255: two of a list, or one beside the background. Raise InputError if it has more."""
    if len(names) > 2:
        listed = first_few([*names.values()], 3)
        raise InputError(f"{folder.root}: label maps of 0 and 255, and a list of {len(names)} classes: {listed}. Expected two")
    back, front = [BACKGROUND, *(names.values() or [FOREGROUND])][-2:]
    return {0: back, IGNORED: front}
