"""Folders as strangers have them: one name in several folders, splits said elsewhere, odd names, broken and doubled labels."""

import errno
from collections.abc import Callable
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from labelling import (
    PICTURES,
    coco_content,
    label_maps,
    picture,
    pictures,
    save_mask,
    voc,
    write_json,
    yolo_beside,
)
from PIL import Image

from mmvit.commands.options import exit_status
from mmvit.errors import InputError
from mmvit.project.folder import Folder
from mmvit.project.formats import read
from mmvit.project.gather import SEVERAL
from mmvit.project.make import Options, find, write
from mmvit.project.plan import plan
from mmvit.project.survey import facts_of
from mmvit.project.targets import name_classes
from mmvit.project.writing import parallel


def folds(root: Path, images: str, labels: str, label: Callable[[Path, int], None]) -> None:
    """Pictures of the same names in two folders, with different labels; {} in a folder's name is x or y."""
    for number, fold in enumerate("xy"):
        for name in "01":
            picture(root / images.format(fold) / f"{name}.jpg", 10 * number + int(name))
            (root / labels.format(fold)).mkdir(parents=True, exist_ok=True)
            label(root / labels.format(fold) / name, number)


def a_line(path: Path, number: int) -> None:
    path.with_suffix(".txt").write_text(f"{number} .5 .5 .3 .3\n")


def a_map(path: Path, number: int) -> None:
    Image.fromarray(np.pad(np.full((40, 60), number, np.uint8), 4, constant_values=2)[:48, :64]).save(path.with_suffix(".png"))


def two_masks(path: Path, number: int) -> None:
    for part in range(2):
        save_mask(path.with_name(f"{path.name}_class{number}_{part}.png"), (5, 20 * part, 25, 15))


@pytest.mark.parametrize("folders", [("images/{}", "labels/{}"), ("{}/images", "{}/labels")])
@pytest.mark.parametrize("label", [a_line, a_map, two_masks])
def test_pictures_of_one_name_keep_their_own_labels(
    tmp_path: Path, label: Callable[[Path, int], None], folders: tuple[str, str]
) -> None:
    folds(tmp_path, *folders, label)
    if label is a_line:
        (tmp_path / "classes.txt").write_text("class0\nclass1\n")
    collection = read(Folder(tmp_path))
    assert len(collection.pictures) == 4
    for entry in collection.pictures:
        number = int("y" in entry.file.parts)
        assert {name.replace("_", "") for name in entry.counts()} - {"class2"} == {f"class{number}"}
    assert not collection.aside


def test_data_yaml_says_the_splits(tmp_path: Path) -> None:
    """Its paths lead elsewhere; the folders whose names agree with their ends are meant."""
    folds(tmp_path, "images/{}", "labels/{}", a_line)
    text = "path: /home/somebody/set\ntrain: [../set/images/y]\nval: images/x\nnames: [a, b]\n"
    (tmp_path / "data.yaml").write_text(text)
    (tmp_path / "notes.yaml").write_text("made: 2026-02-30\n")  # no date, for which YAML's reader raises a plain ValueError
    collection = read(Folder(tmp_path))
    assert {(entry.file.parts[1], entry.split) for entry in collection.pictures} == {("y", "train"), ("x", "val")}
    (tmp_path / "train.txt").write_text("./images/x/0.jpg\n./images/y/0.jpg\n")
    (tmp_path / "val.txt").write_text("./images/x/1.jpg\n./images/y/1.jpg\n")
    assert [entry.split for entry in read(Folder(tmp_path)).pictures] == ["train", "val"] * 2
    (tmp_path / "other.yaml").write_text("names: [b, a]\n")
    with pytest.raises(InputError, match=r"data.yaml and other.yaml name different classes"):
        read(Folder(tmp_path))


def test_lists_have_names_with_spaces_and_dots(tmp_path: Path) -> None:
    voc(tmp_path)
    for name in ("d.v1.jpg", "e 1.jpg"):
        picture(tmp_path / "JPEGImages" / name)
        text = (tmp_path / "Annotations" / "a b.xml").read_text().replace("a b.jpg", name)
        (tmp_path / "Annotations" / name).with_suffix(".xml").write_text(text)
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a b\nd.v1\ne 1\n")
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("Über 鸟.png\nc  1\n")
    splits = {entry.file.name: entry.split for entry in read(Folder(tmp_path)).pictures}
    names = {"train": ("a b.jpg", "d.v1.jpg", "e 1.jpg"), "val": ("c.jpg", "Über 鸟.png")}
    assert splits == {name: split for split, several in names.items() for name in several}


def test_names_that_systems_write_in_other_ways(tmp_path: Path) -> None:
    """macOS takes accents apart; Windows knows one of A.jpg and a.jpg."""
    for seed, name in enumerate((normalize("NFD", "Über.jpg"), "A.jpg", "a.jpg")):
        picture(tmp_path / name, seed)
    for name in ("Über", "A", "a"):
        a_line(tmp_path / name, 0)
    (tmp_path / "classes.txt").write_text("cat\n")
    collection = read(Folder(tmp_path))
    assert [len(entry.things) for entry in collection.pictures] == [1, 1, 1]
    assert not collection.aside


def test_numbers_of_coco_files_that_mean_something_else(tmp_path: Path) -> None:
    """A crowd of "0" is none, image 1 is not image "1", ignored objects are left out by mmdet, and doubled ones count twice."""
    pictures(tmp_path / "train")
    pictures(tmp_path / "val")
    content = coco_content(polygons=False)
    first, second, third = content["annotations"]
    first["iscrowd"], second["ignore"] = "0", 1
    content["annotations"] += [dict(third, id=9), dict(third, id=10, image_id=str(third["image_id"]))]
    write_json(tmp_path / "train" / "train.json", content)
    write_json(tmp_path / "val" / "val.json", coco_content(polygons=False))
    collection = read(Folder(tmp_path))
    assert {what: len(where) for what, where in collection.aside.items()} == {
        "objects marked with ignore": 1,
        "objects that are there twice": 1,
        "objects of a picture that the file does not list": 1,
    }
    assert [(thing.name, thing.crowd) for entry in collection.of("train") for thing in entry.things] == [("cat", False)] * 2
    assert collection.direct == {}, "mmdet would read them otherwise"


def test_odd_run_lengths(tmp_path: Path) -> None:
    """What lacks a box gets that of its mask; what was drawn on another picture or covers none would be noise."""
    pictures(tmp_path / "images")
    content = coco_content()
    without, other, broken = content["annotations"]
    del without["bbox"]
    without["segmentation"] = dict(size=[48, 64], counts=[48 * 10 + 5, 20, 48 * 54 - 25])
    other["segmentation"] = dict(size=[64, 48], counts=[100, 50, 48 * 64 - 150])
    broken["segmentation"] = dict(size=[48, 64], counts="P1:")
    content["annotations"].append(dict(without, id=9, iscrowd=1, bbox=[0, 0, 64, 48]))
    write_json(tmp_path / "a.json", content)
    collection = read(Folder(tmp_path))
    assert [dict(entry.counts()) for entry in collection.pictures] == [dict(cat=1), {}, {}], "a crowd is no object"
    assert facts_of(collection, tmp_path).side == 20**0.5
    assert [thing.box for thing in collection.things()] == [(10, 5, 1, 20), (0, 0, 64, 48)]
    assert {what: len(where) for what, where in collection.aside.items()} == {
        "masks of another size than their picture": 1,
        "labels that cannot be read": 1,
    }


def test_a_file_of_a_split_means_the_pictures_of_its_split(tmp_path: Path) -> None:
    """Frames are called alike in every split, and the file names them without the folder."""
    for split, folder in (("train", "train/a"), ("val", "val2017")):
        pictures(tmp_path / folder)
        write_json(tmp_path / "annotations" / f"instances_{split}.json", coco_content())
    collection = read(Folder(tmp_path))
    assert {(entry.file.parent.as_posix(), entry.split) for entry in collection.pictures} == {
        ("train/a", "train"),
        ("val2017", "val"),
    }
    assert not collection.aside
    assert collection.direct["val"] == (Path("annotations/instances_val.json"), "val2017/")
    (tmp_path / "annotations" / "instances_train.json").rename(tmp_path / "annotations" / "all.json")
    (tmp_path / "annotations" / "instances_val.json").unlink()
    (tmp_path / "train" / "a").rename(tmp_path / "as near")
    assert read(Folder(tmp_path)).aside[SEVERAL] == [f"annotations/all.json: {name}" for name in PICTURES]


def test_what_is_broken_is_named(tmp_path: Path) -> None:
    for split in ("train", "val"):
        pictures(tmp_path / split)
        write_json(tmp_path / f"{split}.json", coco_content(f"{split}/"))
    (tmp_path / "val.json").write_text((tmp_path / "val.json").read_text()[:200])
    for name in (None, "coco"):
        (broken,) = read(Folder(tmp_path), name).aside["label files that are broken"]
        assert broken.startswith("val.json: ")
    (tmp_path / "train.json").unlink()
    with pytest.raises(InputError, match=r"Broken: val.json: "):
        read(Folder(tmp_path))


def test_odd_label_maps_are_named(tmp_path: Path) -> None:
    label_maps(tmp_path, "RGB")
    picture(tmp_path / "images" / "p 1.png", 9)
    with Image.open(tmp_path / "masks" / "p 2.png") as image:
        pixels = np.array(image)
    pixels[:24, :32] = (9, 9, 200)
    Image.fromarray(pixels).save(tmp_path / "masks" / "p 2.png")
    aside = read(Folder(tmp_path)).aside
    assert aside["pictures that have one label map together"][0] == "images/p 1.jpg (masks/p 1.png)"
    assert aside["colours that the list does not have"] == ["masks/p 2.png (9, 9, 200): 25.0% of the pixels"]
    (tmp_path / "class_dict.csv").write_text("sky,0,0,0\nsky,200,10,10\n")
    with pytest.raises(InputError, match=r"class_dict.csv: sky,200,10,10: this class stands above, too"):
        read(Folder(tmp_path))


def test_values_of_sixteen_bits_and_between(tmp_path: Path) -> None:
    """All bits of a pixel set are no class, as 255 of eight bits; a value between others that no map has needs no name."""
    label_maps(tmp_path, "L", (1, 2, 4))
    (tmp_path / "classes.txt").write_text("sky\nroof\n")
    for file in (tmp_path / "masks").iterdir():
        with Image.open(file) as image:
            values = np.array(image).astype(np.uint16)
        values[:, :32] = 65535
        Image.fromarray(values).save(file)
    collection = read(Folder(tmp_path))
    assert collection.values == [0, 1, 2, 3, 4]
    assert sum(collection.pictures[0].pixels.values()) == 32 * 48
    assert collection.notes == [
        "a list names 2 classes, and others occur: they are called by their values; classes.txt or --classes a,b,c names them"
    ]
    name_classes(collection, ["sky", "roof", "lawn"])
    assert (collection.classes, collection.values) == (["sky", "roof", "lawn"], [1, 2, 4])
    plain = tmp_path / "plain"
    label_maps(plain, "L")
    assert parallel(Folder(plain), read(Folder(plain))) is not None
    Image.fromarray(np.ones((48, 64), np.uint16)).save(plain / "masks" / "p 1.png")
    assert parallel(Folder(plain), read(Folder(plain))) is None, "a run reads eight bits"


def test_roboflow_names_the_values_of_its_maps(tmp_path: Path) -> None:
    label_maps(tmp_path, "L")
    (tmp_path / "masks" / "_classes.csv").write_text("Pixel Value, Class\n0, sky\n2, lawn\n1, roof\n")
    assert read(Folder(tmp_path)).classes == ["sky", "roof", "lawn"]


def test_labels_without_names_of_classes(tmp_path: Path) -> None:
    yolo_beside(tmp_path)
    (tmp_path / "c.txt").write_text("0.5 .5 .5 .2 .2\n")
    assert read(Folder(tmp_path)).aside["lines that cannot be read"] == ["c.txt:1"]
    (tmp_path / "classes.txt").unlink()
    with pytest.raises(InputError, match=r"YOLO labels without names of classes. Add data.yaml"):
        read(Folder(tmp_path))
    (tmp_path / "data.yaml").write_text("names: {4: bird, 0: cat}\n")
    (tmp_path / "c.txt").write_text("4 .5 .5 .2 .2\n1 .5 .5 .1 .1\n")
    collection = read(Folder(tmp_path))
    assert collection.classes == ["cat", "bird"]
    assert "c.txt:2" in collection.aside["classes that data.yaml does not have"]


def test_rectangles_of_four_points(tmp_path: Path) -> None:
    """X-AnyLabeling writes upright boxes as LabelMe's rectangles with four points, and turned ones as rotation.

    A width that is a text is a width.
    """
    picture(tmp_path / "a.png")
    upright, turned = [[4, 4], [24, 4], [24, 14], [4, 14]], [[30, 10], [40, 20], [35, 25], [25, 15]]
    kinds = {"rectangle": upright, "rotation": turned, "oriented_rectangle": turned}
    shapes = [dict(label=kind, points=points, shape_type=kind) for kind, points in kinds.items()]
    write_json(tmp_path / "a.json", dict(shapes=shapes, imagePath="a.png", imageWidth="64", imageHeight=48))
    found = [(thing.box, thing.has_mask) for thing in read(Folder(tmp_path)).things()]
    assert found == [((4, 4, 20, 10), False), ((25, 10, 15, 15), True), ((25, 10, 15, 15), True)]


def test_links_and_places_that_cannot_be_used(tmp_path: Path) -> None:
    """A link to a folder may lead anywhere: it is named, not followed."""
    yolo_beside(tmp_path / "real")
    yolo_beside(tmp_path / "data")
    (tmp_path / "data" / "more").symlink_to(tmp_path / "real")
    assert read(Folder(tmp_path / "data")).aside == {"links to folders": ["more"]}
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "images").symlink_to(tmp_path / "real")
    with pytest.raises(InputError, match="links are not followed, name the folder that images leads to"):
        Folder(tmp_path / "linked")
    write_json(tmp_path / "inside" / "a.json", dict(imageData="iVBORw0K", shapes=[]))
    with pytest.raises(InputError, match=r"pictures inside of JSON are not read, labelme_export_json takes them out of a.json"):
        Folder(tmp_path / "inside")
    (tmp_path / "taken").write_text("a file")
    found = find(Options(tmp_path / "data", out=tmp_path / "taken" / "out"))
    with pytest.raises(InputError, match=r"taken.out cannot be written: Not a directory. Give another folder with --out"):
        write(Options(tmp_path / "data", out=tmp_path / "taken" / "out"), found, plan(found.task, "van_b0", None, found.facts))


def test_a_command_names_what_it_may_not_touch(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "runs/x")

    assert exit_status(command) == 2
    assert "error: runs/x: Permission denied. Mend its permissions, or name another place" in capsys.readouterr().err
