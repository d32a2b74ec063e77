"""The lists beside label maps that say what their values and colours mean."""

import csv
import re
from io import StringIO
from typing import Any

from ...errors import InputError
from ..folder import Folder

NAME_FILES = ("classes.txt", "labels.txt", "codes.txt", "labelmap.txt", "label_names.txt", "class_names.txt", "class_dict.csv")
TINTS = ("classes.csv", "colors.csv", "label_colors.txt", "colormap.csv", "class_colors.csv", *NAME_FILES)
NUMBERED = re.compile(r"(\d+)[\s,;:=.)]+([^\d\s,;:][^,;:\t]*?)\s*([,;:\t].*|(\s\d+){3,4})?")  # value, name, perhaps a colour


def listed_names(folder: Folder) -> dict[int, str]:
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
    colours = listed_colours(folder) or {}
    greys = {red: name for name, (red, green, blue) in colours.items() if red == green == blue}
    return dict(sorted(greys.items())) if len(greys) == len(colours) else dict(enumerate(colours))


def listed_colours(folder: Folder) -> dict[str, tuple[int, int, int]] | None:
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
