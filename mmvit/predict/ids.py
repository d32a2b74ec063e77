"""Ids of the images and categories in the results."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
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
        self.last = 0
        self.images: dict[str, list[tuple[str, Any]]] | None = None  # paths and ids by the last part of the path
        numbers: Sequence[int] = predictor.loaded.category_ids or range(1, len(classes) + 1)
        if ann is not None:
            content = read_coco(ann)
            self.images = defaultdict(list)
            for image in content["images"]:
                path = Path(image["file_name"])
                self.images[path.name].append((path.as_posix(), image["id"]))
            known = {category["name"]: category["id"] for category in content["categories"]}
            if lacking := [name for name in classes if name not in known]:
                raise InputError(f"--ann {ann}: no categories named {first_few(lacking)}; it has {first_few(list(known))}")
            numbers = [known[name] for name in classes]
        self.of_labels = dict(enumerate(numbers))
        self.categories: list[dict[str, Any]] = [
            dict(id=number, name=name) for number, name in zip(numbers, classes, strict=True)
        ]
        self.file = ann

    def new(self) -> int:
        self.last += 1
        return self.last

    def of(self, source: str) -> Any:
        """Return the id of an image.

        Raises:
            InputError: the file has no image of that name, or several.
        """
        if self.images is None:
            return self.new()
        path, named = Path(source).as_posix(), self.images.get(Path(source).name, [])
        fitting = [entry for entry in named if path == entry[0] or path.endswith(f"/{entry[0]}")] or named
        if len(fitting) != 1:
            raise InputError(f"--ann {self.file} has {len(fitting) or 'no'} images of that name; its id is not known")
        return fitting[0][1]


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
