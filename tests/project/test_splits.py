"""Splits that a folder has: lists and folders, in the ways in which they are written, and what is in none."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from labelling import SIZE, coco_content, picture, pictures, write_json
from PIL import Image

from mmvit.project.description import Collection, Picture, Thing
from mmvit.project.folder import Folder
from mmvit.project.formats import read
from mmvit.project.make import Options, find
from mmvit.project.split import complete

NAMES = [f"{number:04}" for number in range(4)]


def an_xml(root: Path, name: str) -> None:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>"
    file = root / "Annotations" / f"{name}.xml"
    file.parent.mkdir(parents=True, exist_ok=True)
    stem = Path(name).name
    file.write_text(f"<annotation><filename>{stem}.jpg</filename><object><name>a</name>{box}</object></annotation>")


def a_map(root: Path, name: str) -> None:
    file = root / "SegmentationClass" / f"{name}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", SIZE)
    image.paste(1, (0, 0, 20, 20))
    image.save(file)


def a_text(root: Path, name: str) -> None:
    file = root / "labels" / f"{name}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("0 .5 .5 .3 .3\n")


Label = Callable[[Path, str], None]
OBJECTS, PIXELS, LINES = (an_xml, "JPEGImages", "Main"), (a_map, "JPEGImages", "Segmentation"), (a_text, "images", "")


def folder(root: Path, how: tuple[Label, str, str], names: list[str], lists: dict[str, str]) -> dict[str, str | None]:
    """Return the split of each picture, after labelling them and writing lists."""
    label, images, _ = how
    for seed, name in enumerate(names):
        picture(root / images / f"{name}.jpg", seed)
        label(root, name)
    for file, text in lists.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)
    return {entry.file.relative_to(images).with_suffix("").as_posix(): entry.split for entry in read(Folder(root)).pictures}


@pytest.mark.parametrize("how", [OBJECTS, PIXELS])
@pytest.mark.parametrize(
    ("train", "val", "found"),
    [
        ("cam1/{}", "cam2/{}", {"cam1": "train", "cam2": "val"}),
        ("cam2/{}", "cam1/{}.jpg", {"cam2": "train", "cam1": "val"}),
        ("JPEGImages/cam1/{0}.jpg SegmentationClass/cam1/{0}.png", "cam2/{}", {"cam1": "train", "cam2": "val"}),
        ("{}", "cam2/{}", {"cam1": "train", "cam2": "val"}),
        ("cam3/{}", "cam1/{}", {"cam1": "val", "cam2": "train"}),  # cam3 is not there, and might be either
    ],
)
def test_lists_name_pictures_by_their_paths(
    tmp_path: Path, how: tuple[Label, str, str], train: str, val: str, found: dict[str, str]
) -> None:
    lists = {
        f"ImageSets/{how[2]}/{split}.txt": "\n".join(map(line.format, NAMES))
        for split, line in (("train", train), ("val", val))
    }
    names = [f"{above}/{name}" for above in ("cam1", "cam2") for name in NAMES]
    assert folder(tmp_path, how, names, lists) == {name: found[name[:4]] for name in names}


@pytest.mark.parametrize("how", [OBJECTS, PIXELS, LINES])
@pytest.mark.parametrize("names", [("train.txt", "val.txt"), ("Train.txt", "Valid.txt"), ("train2014.txt", "val2014.txt")])
def test_lists_lie_above_the_pictures(tmp_path: Path, how: tuple[Label, str, str], names: tuple[str, str]) -> None:
    lists = dict(zip(names, ("\n".join(NAMES[:3]), f"{how[1]}/{NAMES[3]}.jpg"), strict=True))
    found = folder(tmp_path, how, NAMES, {**lists, **({"classes.txt": "a\nb\n"} if how is LINES else {})})
    assert [found[name] for name in NAMES] == ["train"] * 3 + ["val"]
    assert read(Folder(tmp_path)).splits == "lists"


@pytest.mark.parametrize(
    ("yaml", "lists"),
    [
        ("val: test.txt\ntest: test.txt", {"test.txt": [3]}),
        ("", {"val.txt": [3], "test.txt": [3]}),
        ("train: ../x/train/images.txt\nval: ../x/val/images.txt", {"train/images.txt": [0, 1, 2], "val/images.txt": [3]}),
    ],
)
def test_lists_of_yolo(tmp_path: Path, yaml: str, lists: dict[str, list[int]]) -> None:
    """A list of validation and test validates; lists of one name are told apart by their folders."""
    texts = {file: "\n".join(f"./images/{NAMES[number]}.jpg" for number in numbers) for file, numbers in lists.items()}
    found = folder(tmp_path, LINES, NAMES, {**texts, "data.yaml": f"names: [a]\n{yaml}\n"})
    assert found[NAMES[3]] == "val"
    assert {found[name] for name in NAMES[:3]} == {"train" if "train" in yaml else None}


@pytest.mark.parametrize(
    ("splits", "left", "words"),
    [
        ("TTVV--", "TTVV", "as in lists; 2 pictures in no split, left aside (4.jpg, 5.jpg)"),
        ("VV----", "VVTTTT", "as in lists; pictures that are in no split train"),
        ("VE----", "VETTTT", "as in lists; pictures that are in no split train"),
        (
            "TTTTE-",
            "????E",
            "20% of the pictures for validation, * test as in lists; 1 picture in no split, left aside (5.jpg)",
        ),
        ("TTTT--", "????", "20% of the pictures for validation, * 2 pictures in no split, left aside (4.jpg, 5.jpg)"),
        ("VVVV", "????", "20% of the pictures for validation, * lists: none for training, so those for validation were split"),
        ("----", "????", "20% of the pictures for validation, "),
    ],
)
def test_what_is_in_no_split(splits: str, left: str, words: str) -> None:
    names = dict(T="train", V="val", E="test")
    entries = [
        Picture(Path(f"{number}.jpg"), *SIZE, [Thing("a", (1, 1, 9, 9))], split=names.get(split))
        for number, split in enumerate(splits)
    ]
    collection = Collection(["a"], entries, splits="lists")
    told = complete(collection, 0.2, 0, None, [])
    assert all(word in told for word in words.split("*"))
    found = [entry.split for entry in collection.pictures]
    assert len(found) == len(left)
    assert all(split == names.get(letter, split) for split, letter in zip(found, left, strict=True))
    assert {"train", "val"} <= {*found}


def test_versions_of_a_picture_stay_together() -> None:
    """Roboflow's copies of one picture; and those of a picture that has the same content."""
    files = [Path(f"train/im{number}_jpg.rf.{version}.jpg") for number in range(20) for version in "abc"]
    entries = [Picture(file, *SIZE, [Thing("a", (1, 1, 9, 9))]) for file in files]
    complete(Collection(["a"], entries), 0.2, 0, None, [[files[1], files[5]], [files[3], files[8]]])
    splits = [{entry.split for entry in entries[first : first + 3]} for first in range(0, 60, 3)]
    assert all(len(found) == 1 for found in splits)
    assert splits[0] == splits[1] == splits[2]
    assert Counter(entry.split for entry in entries)["val"] == pytest.approx(12, abs=3)


@pytest.mark.parametrize("labelled", [1, 2, 3])
def test_few_labelled_pictures_do_not_shrink_validation(labelled: int) -> None:
    entries = [Picture(Path(f"{number}.jpg"), *SIZE, [Thing("a", (1, 1, 9, 9))] * (number < labelled)) for number in range(100)]
    collection = Collection(["a"], entries)
    complete(collection, 0.2, 0, None, [])
    assert len(collection.of("val")) == 20
    assert labelled == 1 or any(entry.things for entry in collection.of("val"))


def test_files_of_coco_2014(tmp_path: Path) -> None:
    for split in ("train2014", "val2014"):
        pictures(tmp_path / split)
        write_json(tmp_path / "annotations" / f"instances_{split}.json", coco_content())
    assert {(entry.file.parts[0], entry.split) for entry in read(Folder(tmp_path)).pictures} == {
        ("train2014", "train"),
        ("val2014", "val"),
    }


@pytest.mark.parametrize("second", ["", "test"])
def test_a_coco_file_of_training_alone_is_split(tmp_path: Path, second: str) -> None:
    for split in filter(None, ("train", second)):
        pictures(tmp_path / "data" / split)
        write_json(tmp_path / "data" / f"{split}.json", coco_content(f"{split}/"))
    found = find(Options(tmp_path / "data", tmp_path / "out"))
    assert not found.collection.direct, "its file has the pictures that validate, too"
