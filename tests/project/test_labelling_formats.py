"""What labelling tools write is read into one description, with names, shapes and sizes."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from labelling import (
    BOXES,
    CLASSES,
    PICTURES,
    SIZE,
    TOOLS,
    coco_content,
    coco_splits,
    label_maps,
    labelme,
    object_masks,
    picture,
    pictures,
    save_mask,
    voc,
    write_json,
)
from PIL import Image

from mmvit.errors import InputError
from mmvit.project.description import Collection, area_of
from mmvit.project.folder import Folder
from mmvit.project.formats import read
from mmvit.project.gather import NO_AREA, NO_LABELS, NO_PICTURE, OTHER_SIZE, OUTSIDE, UNKNOWN
from mmvit.project.writing import drawn, mask_of, write_maps

DRAWN = ("coco", "polygons", "masks", "brush", "labelme")


def objects_of(collection: Collection) -> dict[str, list]:
    return {
        picture.file.stem: sorted((thing.name, tuple(round(value) for value in thing.box)) for thing in picture.things)
        for picture in collection.pictures
    }


@pytest.mark.parametrize("tool", TOOLS)
def test_reads_what_a_tool_writes(tmp_path: Path, tool: str) -> None:
    TOOLS[tool](tmp_path)
    collection = read(Folder(tmp_path))
    assert objects_of(collection) == {stem: sorted(objects) for stem, objects in BOXES.items()}
    assert collection.classes == list(CLASSES)
    assert not collection.aside
    drawn = any(word in tool for word in DRAWN) and tool != "labelme_rectangles"
    assert all(thing.has_mask == drawn for thing in collection.things())
    assert {round(area_of(thing), 1) for thing in collection.things()} == {120, 384, 1600}


@pytest.mark.parametrize(
    ("tool", "old", "new"),
    [
        ("label_studio_brush", '"rle": [', '"rle": [300, '),
        ("labelme_masks", '"points": [[', '"points": [[Infinity, 1], ['),
        ("cvat_masks", 'left="', 'left="1e999'),
    ],
)
def test_numbers_beyond_all_bounds(tmp_path: Path, tool: str, old: str, new: str) -> None:
    TOOLS[tool](tmp_path)
    for file in (*tmp_path.rglob("*.json"), *tmp_path.rglob("*.xml")):
        file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    assert len(read(Folder(tmp_path)).aside[UNKNOWN]) == 3


def test_one_mask_an_object(tmp_path: Path) -> None:
    object_masks(tmp_path)
    collection = read(Folder(tmp_path))
    assert collection.format == "one mask an object"
    assert collection.classes == ["cat", "dog"]
    assert objects_of(collection)["Über 鸟"] == [("cat", (30, 20, 10, 12)), ("dog", (4, 4, 40, 40))]
    assert collection.aside == {NO_LABELS: ["images/c.jpg"]}


def test_data_science_bowl(tmp_path: Path) -> None:
    for name in ("0a1", "0b2"):
        picture(tmp_path / name / "images" / f"{name}.png")
        for number in range(2):
            save_mask(tmp_path / name / "masks" / f"{name}{number}.png", (4, 4, 20, 10 + number))
    collection = read(Folder(tmp_path))
    assert [len(picture.things) for picture in collection.pictures] == [2, 2]
    assert collection.classes == ["object"]


def test_turned_boxes_are_polygons(tmp_path: Path) -> None:
    """A quarter turn of 20 x 10 about its centre (CVAT) is 10 x 20 about the same centre."""
    picture(tmp_path / "a.png")
    box = '<box label="x" xtl="10" ytl="10" xbr="30" ybr="20" rotation="90"/>'
    image = f'<image id="0" name="a.png" width="64" height="48">{box}</image>'
    (tmp_path / "annotations.xml").write_text(f"<annotations><version>1.1</version>{image}</annotations>")
    (thing,) = read(Folder(tmp_path)).things()
    assert thing.box == pytest.approx((15, 5, 10, 20))
    assert thing.polygons


@pytest.mark.parametrize(
    ("mode", "values", "classes", "numbers"),
    [
        ("L", (0, 1, 2), ["class_0", "class_1", "class_2"], [0, 1, 2]),
        ("P", (0, 1, 2), ["class_0", "class_1", "class_2"], [0, 1, 2]),
        ("L", (0, 255, 0), ["background", "foreground"], [0, 255]),
        ("L", (0, 1, 0), ["background", "foreground"], [0, 1]),
        ("L", (3, 60, 200), ["class_3", "class_60", "class_200"], [3, 60, 200]),
        ("RGB", (0, 1, 2), ["sky", "roof", "lawn"], [(0, 0, 0), (200, 10, 10), (10, 200, 10)]),
    ],
)
def test_label_maps(tmp_path: Path, mode: str, values: tuple, classes: list, numbers: list) -> None:
    label_maps(tmp_path, mode, values)
    collection = read(Folder(tmp_path))
    assert (collection.classes, collection.values) == (classes, numbers)
    assert len(collection.pictures) == 4
    assert sum(collection.pictures[0].pixels.values()) == 64 * 48


def test_colours_without_a_list_are_an_error(tmp_path: Path) -> None:
    label_maps(tmp_path, "RGB")
    (tmp_path / "class_dict.csv").unlink()
    with pytest.raises(InputError, match=r"no file says which class a colour is. Add class_dict.csv"):
        read(Folder(tmp_path), pixels=True)


def test_what_is_odd_is_named(tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    picture(tmp_path / "images" / "alone.jpg")
    picture(tmp_path / "images" / "small.jpg", size=(32, 24))
    content = coco_content(polygons=False)
    content["images"] += [
        dict(id=8, file_name="gone.jpg", width=64, height=48),
        dict(id=9, file_name="small.jpg", width=64, height=48),
    ]
    first = content["annotations"][0]
    content["annotations"] += [
        dict(first, id=20, bbox=[5, 5, 0, 9]),
        dict(first, id=21, bbox=[90, 5, 9, 9]),
        dict(first, id=22, bbox=["x", 5, 9, 9]),
        dict(first, id=23, category_id=77),
        dict(first, id=24, bbox=[-10, -10, 20, 20]),
    ]
    write_json(tmp_path / "labels.json", content)
    collection = read(Folder(tmp_path))
    assert {what: len(where) for what, where in collection.aside.items()} == {
        NO_PICTURE: 1,
        OTHER_SIZE: 1,
        NO_AREA: 1,
        OUTSIDE: 1,
        NO_LABELS: 2,
        "labels that cannot be read": 1,
        "objects without a class": 1,
    }
    assert ("cat", (0, 0, 10, 10)) in objects_of(collection)["a b"]  # cut to the picture


def test_hostile_files_open_nothing_outside(tmp_path: Path) -> None:
    """A path that leads out, and an entity: neither is followed."""
    outside = tmp_path / "outside.jpg"
    picture(outside)
    data = tmp_path / "data"
    voc(data)
    named = "<annotation><filename>../outside.jpg</filename><size/></annotation>"
    (data / "Annotations" / "d.xml").write_text(named)
    entity = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;</filename></annotation>'
    (data / "Annotations" / "e.xml").write_text(entity)
    collection = read(Folder(data))
    assert len(collection.pictures) == len(PICTURES)
    assert collection.aside[NO_PICTURE] == ["Annotations/d.xml: d"]
    assert collection.aside["XML files that are not Pascal VOC"] == ["Annotations/e.xml"]


def test_the_nearest_of_pictures_with_one_name(tmp_path: Path) -> None:
    coco_splits(tmp_path, "val")
    collection = read(Folder(tmp_path))
    assert sorted(str(picture.split) for picture in collection.pictures) == ["train"] * 3 + ["val"] * 3
    assert all(picture.file.parts[0] == picture.split for picture in collection.pictures)


def test_labels_with_one_name_in_two_splits(tmp_path: Path) -> None:
    """images/val/a.jpg is as far from labels/train/a.txt as images/train/a.jpg."""
    for split, number in (("train", 0), ("val", 1)):
        picture(tmp_path / "images" / split / "a.jpg")
        file = tmp_path / "labels" / split / "a.txt"
        file.parent.mkdir(parents=True)
        file.write_text(f"{number} 0.5 0.5 0.2 0.2\n")
    (tmp_path / "classes.txt").write_text("one\ntwo\n")
    found = {entry.split: [thing.name for thing in entry.things] for entry in read(Folder(tmp_path)).pictures}
    assert found == {"train": ["one"], "val": ["two"]}


def test_unknown_labels_name_the_formats(tmp_path: Path) -> None:
    pictures(tmp_path)
    (tmp_path / "labels.json").write_text(json.dumps({"what": 1}))
    with pytest.raises(InputError, match=r"labels were not recognised. Expected one of COCO JSON, .*; found files .jpg, .json"):
        read(Folder(tmp_path))


@pytest.mark.parametrize("stem", ["bowl", "a l", "cup", "x_p1"])
@pytest.mark.parametrize(("folder", "suffix"), [("masks", ".png"), ("masks", ".jpg"), (".", "_mask.png")])
def test_masks_of_pictures_with_odd_names(tmp_path: Path, stem: str, folder: str, suffix: str) -> None:
    """Names that end like those of label maps, and masks as JPEG, whose values are near 0 and 255 (Kvasir-SEG)."""
    images = tmp_path / ("images" if folder == "masks" else ".")
    for name in (stem, f"{stem}2"):
        picture(images / f"{name}.png")
        save_mask(tmp_path / folder / f"{name}{suffix}", (8, 8, 32, 32))
    collection = read(Folder(tmp_path), "maps")
    assert [entry.file.stem for entry in collection.pictures] == [stem, f"{stem}2"]
    assert not collection.aside
    assert collection.pictures[0].pixels == {"foreground": 1024, "background": 2048}


def test_pascal_voc_segmentation(tmp_path: Path) -> None:
    """The map of the classes is read, not the one of the objects; the lists are of ImageSets/Segmentation."""
    label_maps(tmp_path, "RGB")
    (tmp_path / "masks").rename(tmp_path / "SegmentationClass")
    (tmp_path / "images").rename(tmp_path / "JPEGImages")
    (tmp_path / "SegmentationObject").mkdir()
    for file in (tmp_path / "SegmentationClass").iterdir():
        Image.new("RGB", SIZE, (128, 0, 0)).save(tmp_path / "SegmentationObject" / file.name)
    Image.new("RGB", SIZE).save(file)  # nothing but the first class, which is grey
    for kind, lists in {"Main": "", "Segmentation": "p 2\np 3\n"}.items():
        (tmp_path / "ImageSets" / kind).mkdir(parents=True)
        (tmp_path / "ImageSets" / kind / "train.txt").write_text("p 0\np 1\n" if lists else "p 3\n")
        (tmp_path / "ImageSets" / kind / "val.txt").write_text(lists)
    folder = Folder(tmp_path)
    collection = read(folder)
    assert [len(where) for where in collection.aside.values()] == [4]
    assert {entry.file.stem: entry.split for entry in collection.pictures} == {
        "p 0": "train", "p 1": "train", "p 2": "val", "p 3": "val"
    }  # fmt: skip
    write_maps(folder, collection, tmp_path / "out")
    for entry in collection.pictures:
        with Image.open(tmp_path / "out" / f"{entry.file}.png") as written:
            found = np.bincount(np.array(written).ravel(), minlength=3)
        assert found.tolist() == ([3072, 0, 0] if entry.file.stem == file.stem else [1024] * 3)


@pytest.mark.parametrize(("mode", "colours"), [("RGB", [0, 255, 0x80C0FF, 0xE0E0C0]), ("P", [0, 1, 2, 255])])
def test_maps_of_classes_and_objects(tmp_path: Path, mode: str, colours: list[int]) -> None:
    """An object is of the class that most of its pixels have; the border belongs to none."""
    label_maps(tmp_path, mode, count=2)
    (tmp_path / "masks").rename(tmp_path / "SegmentationClass")
    (tmp_path / "SegmentationObject").mkdir()
    objects = np.zeros(SIZE[::-1], np.uint8)
    objects[14:32, 40:], objects[36:44, :20], objects[20] = 1, 2, 3
    drawn = np.array(colours)[objects]
    pixels = np.stack([drawn >> 16, drawn >> 8 & 255, drawn & 255], -1) if mode == "RGB" else drawn
    for file in (tmp_path / "SegmentationClass").iterdir():
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "SegmentationObject" / file.name)
    (tmp_path / "classes.txt").write_text("sky\nroof\nlawn\nwall\n")
    assert read(Folder(tmp_path)).has_maps, "classes of pixels, unless objects are asked for"
    collection = read(Folder(tmp_path), pixels=False)
    for entry in collection.pictures:
        assert [(thing.name, thing.box) for thing in entry.things] == [("roof", (40, 14, 24, 18)), ("lawn", (0, 36, 20, 8))]
        assert [mask_of(thing, entry).sum() for thing in entry.things] == [24 * 17, 160]
    assert collection.classes == ["roof", "lawn"]
    assert not collection.aside


def test_drawn_maps_have_the_pixels_of_the_polygons(tmp_path: Path) -> None:
    labelme(tmp_path)
    for entry in read(Folder(tmp_path)).pictures:
        areas = Counter(drawn(entry, ("background", *CLASSES)).ravel().tolist())
        want = {"a b": {1: 384}, "Über 鸟": {1: 120, 2: 1600 - 120}}.get(entry.file.stem, {})
        assert {key: count for key, count in areas.items() if key} == want


@pytest.mark.parametrize("name", ["classes.txt", "obj.names"])
def test_lists_of_one_name_in_several_folders(tmp_path: Path, name: str) -> None:
    """LabelImg writes a list beside the labels of each folder, in the order in which classes were first drawn there."""
    for split, names in (("train", "cat\ndog\n"), ("val", "cat\ndog\nbird\n")):
        picture(tmp_path / split / "a.jpg")
        (tmp_path / split / "a.txt").write_text("1 .5 .5 .2 .2\n")
        (tmp_path / split / name).write_text(names)
    collection = read(Folder(tmp_path))
    assert collection.classes == ["cat", "dog", "bird"]
    assert f"classes are those of val/{name}" in collection.notes
    (tmp_path / "val" / name).write_text("dog\ncat\n")
    with pytest.raises(InputError, match=rf"train/{name} and val/{name} name different classes. Keep the file of these labels"):
        read(Folder(tmp_path))


def test_polygons_without_a_list_of_polygons(tmp_path: Path) -> None:
    """VIA writes the numbers of a polygon alone; boxes were read instead."""
    for split in ("train", "val"):
        pictures(tmp_path / split)
        content = coco_content()
        for entry in content["annotations"]:
            (entry["segmentation"],) = entry["segmentation"]
        write_json(tmp_path / f"{split}.json", content)
    collection = read(Folder(tmp_path))
    assert [round(area_of(thing)) for thing in collection.things()] == [384, 1600, 120] * 2
    assert all(thing.has_mask for thing in collection.things())
    assert collection.direct == {}, "mmdet would read no polygons"
