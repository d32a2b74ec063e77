"""Labels that would get lost, doubled, bent or called otherwise without a word."""

import json
import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from labelling import SIZE, coco_content, coco_splits, label_maps, labelme, picture, save_mask, write_json
from PIL import Image
from pycocotools import mask as coco
from rich.console import Console

from mmvit.errors import InputError
from mmvit.project import tell
from mmvit.project.description import Collection, Picture, Thing, box_of
from mmvit.project.folder import Folder
from mmvit.project.formats import read
from mmvit.project.gather import NO_CLASS, NO_PICTURE, Gathering
from mmvit.project.make import Options, find
from mmvit.project.targets import retarget
from mmvit.project.writing import mask_of, write_lists


def a_text(path: Path, named: str, side: int) -> None:
    path.with_name(f"{path.name}.txt").write_text(f"0 .5 .5 .{side} .3\n")


def an_xml(path: Path, named: str, side: int) -> None:
    box = f"<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{side}</xmax><ymax>20</ymax></bndbox>"
    text = f"<annotation><filename>{named}.jpg</filename><object><name>a</name>{box}</object></annotation>"
    path.with_name(f"{path.name}.xml").write_text(text)


def a_json(path: Path, named: str, side: int) -> None:
    shapes = [dict(label="a", points=[[1, 1], [side, 20]], shape_type="rectangle")]
    write_json(path.with_name(f"{path.name}.json"), dict(shapes=shapes, imagePath=f"{named}.jpg"))


LABELS = pytest.mark.parametrize("label", [a_text, an_xml, a_json])
Label = Callable[[Path, str, int], None]


def labelled(root: Path, label: Label, names: dict[str, str], folder: str = "labels", side: int = 20) -> None:
    """Label files, with the name of the picture that each says, and two to five pictures."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "data.yaml").write_text("names: [a]\n")
    for seed, name in enumerate(["0", "1", "2", "3", "cam"]):
        picture(root / "images" / f"{name}.jpg", seed)
    for number, (file, named) in enumerate(names.items()):
        label(root / folder / file, named, side + number)


def sides(collection: Collection) -> dict[str, int]:
    return {entry.file.stem: round(thing.box[2]) + 1 for entry in collection.pictures for thing in entry.things}


@LABELS
def test_a_dot_is_no_suffix(tmp_path: Path, label: Label) -> None:
    labelled(tmp_path, label, {"cam": "cam", "cam.5": "cam.5"})
    collection = read(Folder(tmp_path))
    assert [entry.file.stem for entry in collection.pictures for _ in entry.things] == ["cam"]
    assert len(collection.aside[NO_PICTURE]) == 1


@LABELS
def test_two_label_files_of_a_picture(tmp_path: Path, label: Label) -> None:
    """An older one doubles the objects, in other places; a copy of the file, or an empty one, does not."""
    labelled(tmp_path, label, {"0": "0", "1": "1"})
    labelled(tmp_path, label, {"0": "0"}, "labels_old")
    assert read(Folder(tmp_path)).aside["objects that are there twice"]
    labelled(tmp_path, label, {"0": "0"}, "labels_old", 30)
    with pytest.raises(InputError, match=r"labels/0\.\w+ and labels_old/0\.\w+ have different objects of images/0.jpg"):
        read(Folder(tmp_path))


def test_a_coco_file_beside_others(tmp_path: Path) -> None:
    """It is named; and so are a picture in two splits, and one that a file lists twice, which mmdet would read as two."""
    for number in range(4):
        picture(tmp_path / f"{number}.jpg", number)

    def save(name: str, numbers: list[int]) -> None:
        images = [dict(id=key, file_name=f"{number}.jpg", width=64, height=48) for key, number in enumerate(numbers, 1)]
        entry = dict(coco_content()["annotations"][0], image_id=1)
        write_json(tmp_path / name, dict(images=images, annotations=[entry], categories=[dict(id=1, name="a")]))

    save("instances_train.json", [0, 1, 0])
    save("train_2.json", [1])
    save("val.json", [2, 0])
    save("more.json", [3])
    collection = read(Folder(tmp_path))
    assert collection.aside["COCO files beside those that are read"] == ["more.json", "train_2.json"]
    assert collection.doubts == {
        "pictures that a file lists twice, read as one": ["instances_train.json: 0.jpg"],
        "pictures in two splits, which stay in the first": ["0.jpg (train; val.json)"],
    }
    assert not collection.direct


@pytest.mark.parametrize("points", [8, 24])
def test_key_points_are_no_polygons(tmp_path: Path, points: int) -> None:
    labelled(tmp_path, a_text, {})
    (tmp_path / "labels" / "0.txt").write_text("0 .5 .5 .25 .5 " + ".5 " * points)
    (tmp_path / "data.yaml").write_text(f"names: {{0: yes, 1: no, 2: 007}}\nkpt_shape: [{points // 2}, 2]\n")
    collection = read(Folder(tmp_path))
    assert collection.things() == [Thing("yes", (24, 12, 16, 24))]
    assert collection.classes == ["yes", "no", "007"], "as they are written"


@pytest.mark.parametrize(
    "polygon",
    [
        [-40.0, 0.0, 50.0, 60.0, 50.0, 30.0],
        [-20.0, 10.0, 30.0, 40.0, 70.0, -30.0, 90.0, 60.0, 10.0, 55.0],
        [5.0, -9.0, 50.0, -9.0, 50.0, 30.0, 40.0, 30.0, 40.0, -2.0, 15.0, -2.0, 15.0, 30.0, 5.0, 30.0],
        [3.0, 4.0, 50.0, 7.0, 20.0, 40.0],
    ],
)
def test_polygons_are_cut_where_the_picture_ends(tmp_path: Path, polygon: list[float]) -> None:
    picture(tmp_path / "a.png")
    gathering, entry = Gathering(Folder(tmp_path)), Picture(Path("a.png"), *SIZE)
    gathering.add(entry, Thing("a", box_of([polygon]), [polygon]), "here")
    drawn = coco.decode(coco.merge(coco.frPyObjects([polygon], SIZE[1], SIZE[0])))
    (cut,) = entry.things
    assert (mask_of(cut, entry) != drawn).sum() <= 0.01 * drawn.sum()
    assert cut.box == pytest.approx(coco.toBbox(coco.encode(np.asfortranarray(drawn))), abs=1.1)


@pytest.mark.parametrize("label", [an_xml, a_json])
@pytest.mark.parametrize(
    ("names", "found", "doubtful"),
    [
        ({"x0": "0", "x1": "1"}, {"0": 20, "1": 21}, 0),  # files with numbers of their own
        ({"1": "0", "2": "1", "3": "2", "4": "3"}, {"0": 20, "1": 21, "2": 22, "3": 23}, 3),
        ({"0": "a", "1": "2", "2": "7", "3": "9"}, {"0": 20, "1": 21, "2": 22, "3": 23}, 1),  # renamed pictures
        ({"0": "a", "1": "b", "2": "c", "x": "3", "y": "0"}, {"0": 20, "1": 21, "2": 22, "3": 23}, 0),
    ],
)
def test_which_picture_a_label_file_means(
    tmp_path: Path, label: Label, names: dict[str, str], found: dict[str, int], doubtful: int
) -> None:
    labelled(tmp_path, label, names)
    collection = read(Folder(tmp_path))
    assert sides(collection) == found
    assert sum(map(len, collection.doubts.values())) == doubtful


def test_the_folders_that_an_xml_names(tmp_path: Path) -> None:
    (tmp_path / "xml").mkdir()
    for seed, folder in enumerate(("x", "y")):
        picture(tmp_path / folder / "0.jpg", seed)
        an_xml(tmp_path / "xml" / f"{folder}_0", "0", 20 + seed)
        file = tmp_path / "xml" / f"{folder}_0.xml"
        file.write_text(file.read_text().replace("<object>", f"<path>C:\\old\\{folder}\\0.jpg</path><object>"))
    found = {entry.file.parent.name: round(thing.box[2]) for entry in read(Folder(tmp_path)).pictures for thing in entry.things}
    assert found == {"x": 19, "y": 20}


@pytest.mark.parametrize(
    ("values", "file", "text", "found"),
    [
        ((0, 255, 0), "classes.txt", "healthy\ntumour\n", {0: "healthy", 255: "tumour"}),
        ((0, 255, 0), "classes.txt", "tumour\n", {0: "background", 255: "tumour"}),
        ((0, 255, 0), "classes.txt", "road\ncar\ntree\n", {}),
        ((0, 255, 0), "class_dict.csv", "name,r,g,b\npolyp,255,255,255\nrest,0,0,0\n", {0: "rest", 255: "polyp"}),
        ((0, 1, 2), "labels.txt", "1 road\n2 car\n3: tree\n", {0: "background", 1: "road", 2: "car", 3: "tree"}),
        ((1, 2, 3), "labels.txt", "1 road\n2 car\n3: tree\n", {1: "road", 2: "car", 3: "tree"}),
        ((0, 1, 2), "class_dict.csv", "id,name,r,g,b\n2,c,0,9,0\n0,a,0,0,0\n1,b,9,0,0\n", {0: "a", 1: "b", 2: "c"}),
        ((0, 1, 2), "class_dict.csv", "name,r,g,b\nb,0,0,0\na,9,0,0\nc,0,9,0\n", {0: "b", 1: "a", 2: "c"}),
    ],
)  # fmt: skip
def test_names_of_values(tmp_path: Path, values: tuple, file: str, text: str, found: dict[int, str]) -> None:
    label_maps(tmp_path, "L", values)
    (tmp_path / file).write_text(text)
    if not found:
        with pytest.raises(
            InputError, match=r"label maps of 0 and 255, and a list of 3 classes: road, car, tree. Expected two"
        ):
            read(Folder(tmp_path))
        return
    collection = read(Folder(tmp_path))
    assert dict(zip(collection.values, collection.classes, strict=True)) == found
    assert retarget(collection, None)[0] == ("binary" if 255 in values else "classes")


def test_an_object_with_the_number_255(tmp_path: Path) -> None:
    label_maps(tmp_path, "L", count=1)
    (tmp_path / "masks").rename(tmp_path / "SegmentationClass")
    for number, kind, void in ((255, np.uint16, 65535), (254, np.uint8, 255)):
        objects = np.full(SIZE[::-1], void, kind)
        objects[10:20, 10:20], objects[20:30] = number, 7
        (tmp_path / "SegmentationObject").mkdir(exist_ok=True)
        Image.fromarray(objects).save(tmp_path / "SegmentationObject" / "p 0.png")
        boxes = [thing.box for thing in read(Folder(tmp_path), "objects").things()]
        assert boxes == [(0, 20, 64, 10), (10, 10, 10, 10)]


def test_more_classes_than_a_label_map_has(tmp_path: Path) -> None:
    labelme(tmp_path / "drawn")
    (file,) = (tmp_path / "drawn").rglob("a b.json")
    content = json.loads(file.read_text())
    content["shapes"] = [dict(content["shapes"][0], label=f"c{number}") for number in range(255)]
    write_json(file, content)
    with pytest.raises(InputError, match=r"--task classes: 25\d classes, background included. Expected 255 at most"):
        find(Options(tmp_path / "drawn", Path("out"), task="classes"))
    label_maps(tmp_path / "maps", "L")
    (tmp_path / "maps" / "classes.txt").write_text("\n".join(f"c{number}" for number in range(256)))
    with pytest.raises(InputError, match=r"256 classes. Expected 255 at most"):
        read(Folder(tmp_path / "maps"))


def test_classes_of_masks_have_words(tmp_path: Path) -> None:
    for name in ("0", "0_big"):
        picture(tmp_path / "images" / f"{name}.jpg", len(name))
    for number, name in enumerate(("0_red_dog_1", "0_red_dog_2", "0_big_dog_1")):
        save_mask(tmp_path / "masks" / f"{name}.png", (4, 4, 20, 10 + number))
    found = {entry.file.stem: [thing.name for thing in entry.things] for entry in read(Folder(tmp_path)).pictures}
    assert found == {"0": ["red_dog"] * 2, "0_big": ["dog"]}
    save_mask(tmp_path / "masks_old" / "0_big_dog_1.png", (4, 4, 20, 11))
    assert read(Folder(tmp_path)).doubts["masks of one name in two folders, which are two objects"]


def test_regions_of_several_results(tmp_path: Path) -> None:
    """Texts and choices of a region are no objects; nor is its shape, where labels stand apart. A second label is named."""
    picture(tmp_path / "a.jpg")
    shape = dict(x=10, y=10, width=50, height=50, rotation=0)
    first = [dict(rectanglelabels=["car", "red"]), dict(choices=["old"]), dict(text=["AB 123"])]
    results = [dict(id="1", type="x", value=shape | more) for more in first]
    results += [dict(id="2", type="x", value=dict(shape, y=20) | more) for more in ({}, dict(labels=["bus"]))]
    results += [dict(id="3", type="rectangle", value=shape)]
    write_json(tmp_path / "p.json", [dict(data=dict(image="a.jpg"), annotations=[dict(result=results), dict(result=[])])])
    collection = read(Folder(tmp_path))
    assert [thing.name for thing in collection.things()] == ["car", "bus"]
    assert collection.aside == {NO_CLASS: ["a.jpg"]}
    assert collection.doubts["regions with several labels, of which the first counts"] == ["a.jpg (car, red)"]
    picture(tmp_path / "b.jpg", 1)
    write_json(
        tmp_path / "p.json",
        [dict(image=f"{name}.jpg", annotator=1, label=[shape | first[0]], x=[shape | first[1]]) for name in "ab"],
    )
    assert not read(Folder(tmp_path)).aside
    with Console(width=200, record=True, file=StringIO()) as console:
        tell.found(console, find(Options(tmp_path, tmp_path.with_name("out"), val=0.5)))
    assert "of which the first counts: a.jpg (car, red), b.jpg" in console.export_text(), "and not: left aside"


@pytest.mark.skipif(os.name != "posix", reason="names of files are bytes there alone")
def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    entry = Picture(Path("a/caf\udce9.jpg"), *SIZE, split="train")
    with pytest.raises(InputError, match=r"train.txt: 'a/caf.udce9' has a name that is not UTF-8. Rename the file or folder"):
        write_lists(Collection(["a"], [entry]), tmp_path, "", ".jpg")


@pytest.mark.parametrize(
    ("part", "changed", "as_it_is"),
    [
        ("annotations", dict(id=1), True),
        ("annotations", dict(id=0), False),  # as Roboflow numbers them, which pycocotools takes for "not found"
        ("annotations", dict(id="7"), False),
        ("annotations", dict(id=2), False),  # twice
        ("images", dict(width=None), False),
        ("categories", dict(name=7), False),
    ],
    ids=str,
)
def test_files_that_a_run_would_misread_or_refuse_are_written_anew(
    tmp_path: Path, part: str, changed: dict, as_it_is: bool
) -> None:
    content = coco_content()
    content[part][0].update(changed)
    coco_splits(tmp_path, content=content)
    collection = read(Folder(tmp_path))
    assert bool(collection.direct) == as_it_is
    assert len(list(collection.things())) == 6
