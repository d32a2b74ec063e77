"""Ids of the images and categories in the results."""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError, first_few
from .predictor import Predictor


class Ids:
    """Ids of images and categories: those of a file in COCO's format, or else of the model's training, or else from 1.

    Raises:
        InputError: the file cannot be read, or lacks a class of the model.
    """

    def __init__(self, predictor: Predictor, ann: Path | None) -> None:
        classes = predictor.classes
        self.highest = 0  # of the file
        self.owners: dict[Any, list[Path]] = defaultdict(list)
        self.fitting: dict[str, list[tuple[str, Any]]] = {}  # entries of each file of a run
        self.images: dict[str, list[tuple[str, Any]]] | None = None  # paths and ids by the last part of the path
        numbers: Sequence[int] = predictor.loaded.category_ids or range(1, len(classes) + 1)
        if ann is not None:
            content = read_coco(ann)
            self.images = defaultdict(list)
            for image in content["images"]:
                path = Path(
                    *(part for part in Path(os.path.normpath(image["file_name"].replace("\\", "/"))).parts if part != "..")
                )
                self.images[path.name].append((path.as_posix(), image["id"]))
            numbers_of_images = [image["id"] for image in content["images"] if isinstance(image["id"], int)]
            self.highest = max([0, *numbers_of_images])
            known = {category["name"]: category["id"] for category in content["categories"]}
            if lacking := [name for name in classes if name not in known]:
                raise InputError(f"--ann {ann}: no categories named {first_few(lacking)}; it has {first_few(list(known))}")
            numbers = [known[name] for name in classes]
        self.of_labels = dict(enumerate(numbers))
        self.categories: list[dict[str, Any]] = [
            dict(id=number, name=name) for number, name in zip(numbers, classes, strict=True)
        ]
        self.file, self.last = ann, self.highest

    def new(self) -> int:
        self.last += 1
        return self.last

    def claim(self, files: Iterable[Path]) -> int:
        """Note which files of a run fit each entry: by folder, or else by name alone. Return how many the latter are."""
        by_folder = {file: self._in_folder(file) for file in files}
        taken = {number for fitting in by_folder.values() for _, number in fitting}
        loose = {file: self._named(file) for file, fitting in by_folder.items() if not fitting}
        alone = {file: named for file, named in loose.items() if len(named) == 1 and named[0][1] not in taken}
        for file, fitting in (by_folder | alone).items():
            self.fitting[str(file)] = fitting
            for _, number in fitting:
                self.owners[number].append(file)
        return len(alone)

    def of(self, source: str) -> Any:
        """Return the id of an image, one of the files that `claim` was given.

        Raises:
            InputError: the file has no image of that name, or several, or its entry fits another image, too.
        """
        if self.images is None:
            return self.new()
        fitting = self.fitting.get(source, [])
        if len(fitting) != 1:
            named = self._named(Path(source))
            known = f"; {first_few([entry for entry, _ in named])} is in another folder" if named and not fitting else ""
            raise InputError(f"--ann {self.file} has {len(fitting) or 'no'} images of that name{known}. Its id is not known")
        ((entry, number),) = fitting
        if len(owners := self.owners[number]) > 1:
            raise InputError(f"--ann {self.file}: {entry} may be any of {first_few(owners)}. Give the folder of one of them")
        return number

    def _named(self, file: Path) -> list[tuple[str, Any]]:
        return (self.images or {}).get(file.name, [])

    def _in_folder(self, file: Path) -> list[tuple[str, Any]]:
        """Return the entries whose path ends that of an image, those with the most folders alone."""
        path = Path(os.path.abspath(file)).as_posix()
        found = [entry for entry in self._named(file) if path.endswith(f"/{entry[0].lstrip('/')}")]
        longest = max((len(entry) for entry, _ in found), default=0)
        return [(entry, number) for entry, number in found if len(entry) == longest]


def read_coco(path: Path) -> Mapping[str, Any]:
    """Return the content of a file in COCO's format. Raise InputError if it cannot be read or lacks images or categories."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for part, name in (("images", "file_name"), ("categories", "name")):
            for key, kinds in (("id", (int, str)), (name, str)):
                if lacking := [entry.get(key) for entry in content[part] if not isinstance(entry.get(key), kinds)]:
                    raise ValueError(f"an entry of {part} has {lacking[0]!r} as its {key}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"--ann {path}: expected a JSON file with COCO's images and categories ({type(error).__name__}: {error})"
        ) from error
    return content
