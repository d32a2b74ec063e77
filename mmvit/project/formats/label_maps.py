"""Label maps: an image for each picture, whose values or colours are classes; masks of 0 and 255 are two classes."""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from ...data.label_maps import OF_CITYSCAPES, ORIGINAL_IDS
from ...errors import InputError, first_few
from ..description import BACKGROUND, FOREGROUND, IGNORED, Collection, Picture
from ..folder import Folder, folder_split, in_common, plain
from ..gather import NO_LABELS, NO_PICTURE, OTHER_SIZE, UNREADABLE
from .label_pixels import LOSSLESS, LOSSY, counts_of, read_map

MAP_FOLDERS = re.compile(r"mask|label|annot|gt|truth|segment", re.IGNORECASE)
MAP_NAMES = re.compile(
    r"((^|[_\-. ]|(?<=\d))(labeltrainids|labelids|instanceids|masks?|labels?|seg|segmentation|gt|groundtruth|gtfine|watershed"
    r"|gtfine_color)"
    r"|[_-][lp])$",  # not bowl, nor cup
    re.IGNORECASE,
)
TRAINED = re.compile(r"_gt[a-z]*_labelTrainIds\.", re.IGNORECASE)  # of Cityscapes; COCO-Stuff's have no _gt
OBJECTS = re.compile(r"object|instance", re.IGNORECASE)  # numbers of single objects, as in Pascal VOC's SegmentationObject
NAME_FILES = ("classes.txt", "labels.txt", "codes.txt", "labelmap.txt", "label_names.txt", "class_names.txt", "class_dict.csv")
TINTS = ("classes.csv", "colors.csv", "label_colors.txt", "colormap.csv", "class_colors.csv", *NAME_FILES)
SPARE = "further label maps of the same pictures, such as those of single objects"
NUMBERED = re.compile(r"(\d+)[\s,;:=.)]+([^\d\s,;:][^,;:\t]*?)\s*([,;:\t].*|(\s\d+){3,4})?")  # value, name, perhaps a colour
MAPS_OF_PANOPTIC = "of COCO's panoptic PNG files, panopticapi's panoptic2semantic_segmentation.py makes label maps"
MOST = 255
CHANGED = "label maps saved as JPEG, which changes the numbers of classes (save them as PNG)"


def recognise(folder: Folder) -> bool:
    pairs, _ = pairs_of(folder)
    return (bool(pairs) and _listed_colours(folder) is not None) or any(
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
        elif not (counts := counts_of(folder, label)):
            collection.aside[CHANGED if label.suffix.lower() in LOSSY else UNREADABLE].append(str(label))
        else:
            found.append(counts)
            collection.pictures.append(Picture(file, *size, maps=(label,), split=folder_split(file)))
    for file in sorted(spare):
        collection.aside[SPARE].append(str(file))
    for file in sorted(set(folder.pictures) - set(pairs) - set(pairs.values()) - spare):
        collection.aside[NO_LABELS if file.suffix.lower() in LOSSY or _in_pictures(file) else NO_PICTURE].append(str(file))
    if original := [str(picture.maps[0]) for picture in collection.pictures if picture.maps[0].name.endswith(ORIGINAL_IDS)]:
        collection.doubts[". ".join(OF_CITYSCAPES)] = original
    if found:
        _name_values(folder, collection, found)
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
        found = [label for label in maps.get(plain(file.stem).removesuffix("_leftimg8bit"), ()) if label != file]
        if file in taken and not (_in_pictures(file) or (not _in_maps(file) and any(map(_in_maps, found)))):
            continue
        if found:
            pairs[file] = max(found, key=lambda label: (folder_split(label) == folder_split(file), *_likely(file, label)))
            several.update(label for label in found if not _in_pictures(label))
    labels = set(pairs.values())
    return {file: label for file, label in pairs.items() if file not in labels}, several - labels


def _in_pictures(file: Path) -> bool:
    """Return whether a folder of the file says that it is a picture, although its name looks like that of a map."""
    return not _in_maps(file) and not MAP_NAMES.search(file.stem)


def _in_maps(file: Path) -> bool:
    return any(MAP_FOLDERS.search(part) for part in file.parts[:-1])


def _likely(file: Path, label: Path) -> tuple[int, bool, bool, str]:
    """Return how likely a map is a picture's: by folders of one name, classes; Cityscapes' labelTrainIds are for training."""
    single = bool(OBJECTS.search(label.parent.name) or OBJECTS.search(label.stem.removeprefix(file.stem)))
    return in_common(file, label), not single, "TrainIds" in label.stem, label.as_posix()


def _name_values(folder: Folder, collection: Collection, found: list[Counter[Any]]) -> None:
    """Set the collection's classes, the value or colour of each, and each picture's number of pixels of each class.

    Args:
        found: of each picture, the number of pixels of each value or colour.
    """
    colours = _listed_colours(folder)
    coloured = {value for counts in found for value in counts if isinstance(value, tuple)}
    if coloured:
        if colours is None:
            panoptic = "panoptic" in str(collection.pictures[0].maps[0]).lower()
            made = f"; {MAPS_OF_PANOPTIC}" if panoptic else ""
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
        values = sorted({value for counts in found for value in counts})
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
    names = _listed_names(folder) or _names_of_cityscapes(collection, values)
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


def _listed_names(folder: Folder) -> dict[int, str]:
    """Return the names of the classes by their values, none if nothing lists them.

    A line has the value and the name, as in Roboflow's _classes.csv, or the name alone; then the order counts, or the colour
    where all are grey.
    """
    for file in (*folder.named("_classes.csv"), *folder.named(*TINTS)):
        lines = [line for line in folder.lines(file) if not line.startswith("#")]
        headed = file.suffix == ".csv" and lines and not NUMBERED.fullmatch(lines[0])
        found = [NUMBERED.fullmatch(line) for line in lines[1 if headed else 0 :]]
        numbered = {int(line[1]): line[2] for line in found if line}
        if found and len(found) == len({*numbered.values()}):
            return dict(sorted(numbered.items()))
        three = any(re.search(r"\d+\D+\d+\D+\d+", line) for line in lines)
        if file.name.lower() in NAME_FILES and file.suffix == ".txt" and lines and not three:
            return dict(enumerate(line.rstrip(":,") for line in lines))
    colours = _listed_colours(folder) or {}
    greys = {red: name for name, (red, green, blue) in colours.items() if red == green == blue}
    return dict(sorted(greys.items())) if len(greys) == len(colours) else dict(enumerate(colours))


def _listed_colours(folder: Folder) -> dict[str, tuple[int, int, int]] | None:
    """Return the colour of each class: `name,r,g,b` of a table, `name:r,g,b::` of CVAT, `r g b name` of CamVid.

    Raises:
        InputError: a class with two colours, or a colour with two classes.
    """
    for file in folder.named(*TINTS):
        found: dict[str, tuple[int, int, int]] = {}
        for line in folder.lines(file):
            numbers = re.findall(r"(?<![\w.])\d{1,3}(?![\w.])", line)
            words: list[Any] = [word for word in re.split(r"[,:;\t]+|\s{2,}", line) if not re.fullmatch(r"[\d\s]*", word)]
            if len(numbers) >= 3 and words and not line.startswith("#"):
                name = re.sub(r"^[\d\s]+", "", next(csv.reader(StringIO(words[0])))[0]).strip()
                red, green, blue = (int(number) for number in numbers[-3:])
                if name in found or (red, green, blue) in found.values():
                    twice = f"this {'class' if name in found else 'colour'} stands above, too"
                    raise InputError(f"{folder.root / file}: {line}: {twice}. Expected one colour a class")
                found[name] = (red, green, blue)
        if found:
            return found
    return None
