"""A folder of pictures and labels, walked once. Only files that the walk found are ever opened, whatever a label file names."""

import json
import os
import re
from codecs import BOM_UTF8
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from unicodedata import normalize
from urllib.parse import parse_qs, unquote, urlparse
from xml.etree.ElementTree import ParseError

import yaml
from defusedxml.ElementTree import fromstring
from PIL import Image

from ..config.datasets import SPLITS
from ..data.orientation import orientation
from ..data.tiff import Bands
from ..errors import InputError, first_few

NO_IMAGE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what Pillow raises for a file that is no image
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")  # what OpenCV reads as well
CONVERTED = (*PICTURES, ".gif", ".heic", ".jfif", ".jp2", ".pgm", ".ppm")  # suffixes of which a label file may say another
UPLOAD = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the name of an uploaded file


class Folder:
    """The files below a folder, relative to it and sorted. Hidden files and folders are left out.

    Links to folders are not followed: they may lead out of it.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            kind = "a file" if root.exists() else "not there"
            raise InputError(f"{root} is {kind}. Expected the folder that a labelling tool wrote; unpack archives first")
        self.root = root.resolve()
        self.files, self.links = _walked(self.root)
        self.broken: dict[Path, str] = {}  # files that were read and hold neither JSON nor XML, as their names say: the reason
        self._contents: dict[Path, Any] = {}
        if not self.pictures:
            archives = self.of(".zip", ".tar", ".gz", ".7z", ".rar")
            more = f"; unpack {first_few(archives)} first" if archives else ""
            more += f"; links are not followed, name the folder that {first_few(self.links)} leads to" if self.links else ""
            inside = [
                file for file in self.of(".json") if isinstance(said := self.content(file), dict) and said.get("imageData")
            ]
            more += (
                f"; pictures inside of JSON are not read, labelme_export_json takes them out of {inside[0]}" if inside else ""
            )
            raise InputError(f"{root}: no pictures in it or below it. Expected files that end in {', '.join(PICTURES)}{more}")

    @cached_property
    def pictures(self) -> list[Path]:
        """All images, those that turn out to be label maps included."""
        return self.of(*PICTURES)

    def of(self, *suffixes: str) -> list[Path]:
        """Return the files that end in one of the suffixes."""
        return [file for file in self.files if file.suffix.lower() in suffixes]

    def named(self, *names: str) -> list[Path]:
        """Return the files with one of the names, those nearest to the root first."""
        return sorted((file for file in self.files if file.name.lower() in names), key=lambda file: len(file.parts))

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        names, stems = defaultdict[str, list[Path]](list), defaultdict[str, list[Path]](list)
        for file in self.pictures:
            names[plain(file.name)].append(file)
            stems[plain(file.stem)].append(file)
        return {**stems, **names}  # 0.jpg is not 0.jpg.png

    @cached_property
    def _by_place(self) -> dict[str, list[Path]]:
        """Pictures by the folder that they lie in and the name."""
        index: dict[str, list[Path]] = defaultdict(list)
        for name, files in self._by_name.items():
            for file in files:
                index[plain(f"{file.parent.name}/{name}")].append(file)
        return index

    @cached_property
    def _above(self) -> dict[Path, tuple[Path, str | None]]:
        """The folder of each picture, and the split that it names."""
        return {file: (file.parent, folder_split(file)) for file in self.pictures}

    def picture(self, named: str, near: Path = Path()) -> Path | None:
        """Return the picture that a label file means, None if there is none or more than one; see `likeliest`."""
        best = self.likeliest(named, near)
        return best[0] if len(best) == 1 else None

    def likeliest(self, named: str, near: Path, among: Container[Path] | None = None) -> list[Path]:
        """Return the pictures that a label file may mean.

        Tools write paths of the machine that they ran on, other separators, and addresses. What counts is the end: of all
        pictures with that name, the one is meant that shares most of the path, or else the one of the label file's split, or
        the one in folders of the same names, or the one nearest to it.

        Args:
            named: what the label file says.
            near: the label file, relative to the root.
            among: the pictures that count; None for all.
        """
        words = words_of(named)
        found: list[Path] = []
        for files in (self._by_place.get(plain("/".join(words[-2:])), ()), self.called(named)):
            found = found or [file for file in files if among is None or file in among]
        if len(found) < 2:
            return found
        split, above, beside = split_of(near) or "", words[:-1], near.parent.parts
        ranks = [
            (
                shared(parent, above) if above else 0,
                words[-1] in (file.name, file.stem),  # A.jpg and a.jpg differ on some systems
                own == split,
                len({*parent.parts}.intersection(beside)),
                2 * agreeing(parent.parts, beside) - len(parent.parts),  # most: fewest folders up and down
            )
            for file in found
            for parent, own in [self._above[file]]
        ]
        best = max(ranks)
        return [file for file, rank in zip(found, ranks, strict=True) if rank == best]

    def called(self, named: str) -> list[Path]:
        """Return the pictures of the name that a label file says, whatever folder they are in."""
        name = plain((words_of(named) or [""])[-1])
        found = self._by_name.get(name) or self._by_name.get(UPLOAD.sub("", name), [])
        path = PurePosixPath(name)  # cam1.5 has no suffix, and is not cam1
        return found or (self._by_name.get(path.stem, []) if path.suffix in CONVERTED else [])

    def size(self, picture: Path) -> tuple[int, int] | None:
        """Return width and height as the picture is shown, from its header; None if it is no image."""
        path = self.root / picture
        try:
            with Image.open(path) as image:
                width, height = image.size
                return (height, width) if orientation(image) > 4 else (width, height)
        except NO_IMAGE:
            pass
        try:
            with Bands(path) as bands:  # of TIFF files that Pillow does not know
                return bands.shape[1], bands.shape[0]
        except InputError:
            return None

    def text(self, file: Path) -> str:
        """Return a file's text. Raise InputError if it is not UTF-8, or cannot be read."""
        try:
            return (self.root / file).read_bytes().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self.root / file} cannot be read: {error}. Expected text in UTF-8") from error

    def marked(self, file: Path) -> bool:
        """Return whether a text begins with a byte order mark, which other readers of JSON refuse."""
        with (self.root / file).open("rb") as stream:
            return stream.read(len(BOM_UTF8)) == BOM_UTF8

    def lines(self, file: Path) -> list[str]:
        """Return the lines of a text file, without spaces around them and without empty ones."""
        return [line.strip() for line in self.text(file).splitlines() if line.strip()]

    def content(self, file: Path) -> Any:
        """Return the content of a JSON file or the root of an XML file, read once; None if it is broken.

        An XML file with a document type, as no tool writes it, counts as broken.
        """
        if file not in self._contents:
            try:
                if file.suffix.lower() == ".xml":
                    self._contents[file] = fromstring((self.root / file).read_bytes(), forbid_dtd=True)
                else:
                    self._contents[file] = json.loads(self.text(file))
            except (OSError, ParseError, ValueError, RecursionError) as error:
                self._contents[file] = None
                self.broken[file] = f"{file}: {error}".replace("\n", " ")
        return self._contents[file]

    def yaml(self, file: Path) -> Any:
        """Return a YAML file's content, with values as they are written, such as yes or 007; None if it is no YAML."""
        try:
            return yaml.load(self.text(file), yaml.BaseLoader)
        except (yaml.YAMLError, InputError, RecursionError):
            return None


def _walked(root: Path) -> tuple[list[Path], list[Path]]:
    """Return the files below a folder and the links to folders, relative and sorted, without hidden ones.

    Raises:
        InputError: a folder may not be read.
    """

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}. Mend its permissions") from error

    files, links = [], []
    for base, folders, names in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = Path(base)
        files += [here / name for name in names if not name.startswith(".") and (here / name).is_file()]
        links += [here / name for name in folders if (here / name).is_symlink()]
    return sorted(file.relative_to(root) for file in files), sorted(link.relative_to(root) for link in links)


def words_of(named: str) -> list[str]:
    """Return the parts of a path or an address, without what points up."""
    if named.startswith(("http://", "https://", "/data/local-files")):
        address = urlparse(named)
        named = unquote(parse_qs(address.query).get("d", [address.path])[0])
    elif "://" in named:  # a bucket's: # and ? belong to the name
        named = unquote(named.partition("://")[2].partition("/")[2])
    return [word for word in named.replace("\\", "/").split("/") if word not in ("", ".", "..")]


def plain(name: str) -> str:
    """Return a name as it is looked up: macOS writes letters and their accents apart."""
    return normalize("NFC", name).lower()


def in_common(one: Path, other: Path) -> int:
    """Return the number of folders' names that two paths share: images/x/a.jpg and labels/x/a.txt share one."""
    return len({*one.parent.parts} & {*other.parent.parts})


def shared(file: Path, words: list[str]) -> int:
    """Return how many parts at the end of a path are those of another."""
    return agreeing(map(str.lower, reversed(file.parts)), map(str.lower, reversed(words)))


def agreeing(one: Iterable[str], other: Iterable[str]) -> int:
    """Return how many parts at the beginning are the same."""
    count = 0
    for ours, theirs in zip(one, other, strict=False):
        if ours != theirs:
            break
        count += 1
    return count


WORDS = {  # in names of folders and files, and the split that each means
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# what lists have behind a name: whether a class is there, or the label map
BEHIND = re.compile(r"(\s+-1|\s\s+[01]|(?<=\.jpg|jpeg|\.png|\.bmp|\.tif|tiff)\s+\S+\.png)$", re.IGNORECASE)


def split_in(word: str) -> str | None:
    """Return the split that a word means, such as Train, valid or val2014."""
    return WORDS.get(re.sub(r"\d{4}$", "", word.lower()))


def split_of(path: Path) -> str | None:
    """Return the split that a folder of the path, or a word of the file's name, names."""
    words = [*path.parts[:-1], *re.split(r"[^a-z0-9]+", path.stem.lower())]
    found = {split for word in words if (split := split_in(word))}
    return found.pop() if len(found) == 1 else None


def folder_split(path: Path) -> str | None:
    """Return the split that a folder of the path names; a picture's own name says nothing."""
    return next((split for part in reversed(path.parts[:-1]) if (split := split_in(part))), None)


def named_lists(folder: Folder) -> list[tuple[Path, str]]:
    """Return the text files that are called like a split, and the split; those of training first."""
    texts = [(file, split) for file in folder.of(".txt") if (split := split_in(file.stem))]
    return sorted(texts, key=lambda entry: (SPLITS.index(entry[1]), len(entry[0].parts)))


def listed_splits(folder: Folder, lists: Sequence[tuple[Path, str]], among: Container[Path] | None = None) -> dict[Path, str]:
    """Return the split of each picture that is named in a list, a line each, by name or path, with a suffix or without.

    The line counts whose path ends most like the picture's; of several, the first.

    Args:
        lists: text files, each with its split; those that come first win.
        among: the pictures that count; None for all.
    """
    found: dict[Path, tuple[int, str]] = {}
    for file, split in lists:
        for line in folder.lines(file):
            name = BEHIND.sub("", line)
            for picture in folder.likeliest(name, file, among):
                agreed = shared(picture.parent, words_of(name)[:-1])
                if picture not in found or agreed > found[picture][0]:
                    found[picture] = (agreed, split)
    return {picture: split for picture, (_, split) in found.items()}
