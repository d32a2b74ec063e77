"""Folders of Cityscapes and of COCO's panoptic task as they are downloaded."""

from pathlib import Path

import numpy as np
import pytest
from labelling import SIZE, coco_content, picture, pictures, write_json
from PIL import Image

from mmvit.errors import InputError
from mmvit.project.folder import Folder
from mmvit.project.formats import read
from mmvit.project.gather import NO_LABELS


def cityscapes(root: Path, values: dict[str, int]) -> Folder:
    """Four pictures with files that end in the words, each of one value and of 11."""
    for number in range(4):
        stem = f"ulm/ulm_{number:06d}_000019"
        picture(root / "leftImg8bit" / f"{stem}_leftImg8bit.png", number)
        for words, value in values.items():
            labels = np.full((SIZE[1], SIZE[0]), value, np.uint8)
            labels[:8] = 11
            file = root / "gtFine" / f"{stem}_gtFine_{words}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(labels).save(file)
    return Folder(root)


def test_original_numbers_of_cityscapes(tmp_path: Path) -> None:
    """They were taken for 34 classes, those that nobody trains included, without a word."""
    collection = read(cityscapes(tmp_path, dict(labelIds=7, color=128)))
    ((told, files),) = collection.doubts.items()
    assert "csCreateTrainIdLabelImgs" in told
    assert len(files) == 4
    assert list(collection.aside) == ["further label maps of the same pictures, such as those of single objects"]


def test_classes_of_cityscapes_have_names(tmp_path: Path) -> None:
    collection = read(cityscapes(tmp_path, dict(labelIds=7, labelTrainIds=0)))
    assert len(collection.classes) == 19
    assert collection.classes[:2] == ["road", "sidewalk"]
    assert set(collection.pictures[0].pixels) == {"road", "person"}
    assert not collection.doubts
    assert "class_33" in read(cityscapes(tmp_path / "other", dict(labelTrainIds=33))).classes


def panoptic(root: Path) -> None:
    content = coco_content()
    content["annotations"] = [dict(image_id=1, file_name="1.png", segments_info=[dict(id=7, category_id=1)])]
    write_json(root / "annotations" / "panoptic_train2017.json", content)


def test_panoptic_annotations_are_refused(tmp_path: Path) -> None:
    """A project was written in which nothing could be learned, and nothing said why."""
    pictures(tmp_path / "images")
    panoptic(tmp_path)
    with pytest.raises(InputError, match=r"panoptic_train2017\.json: annotations of COCO's panoptic format.*instances_"):
        read(Folder(tmp_path))
    write_json(tmp_path / "annotations" / "my_train2017.json", coco_content())
    collection = read(Folder(tmp_path))
    assert len(list(collection.things())) == 3
    assert collection.aside["COCO files beside those that are read"] == ["annotations/panoptic_train2017.json"]


def test_colours_of_panoptic_files_are_no_classes(tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    for file in sorted((tmp_path / "images").iterdir()):
        (tmp_path / "panoptic_labels").mkdir(exist_ok=True)
        Image.new("RGB", SIZE, (1, 1, 0)).save(tmp_path / "panoptic_labels" / f"{file.stem}.png")
    with pytest.raises(InputError, match=r"are coloured.*panoptic2semantic_segmentation\.py"):
        read(Folder(tmp_path), pixels=True)


def filled(path: Path, values: tuple[int, int] = (0, 1)) -> None:
    """A map of two values, one above the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, np.uint8)[np.arange(SIZE[1]) // 24][:, None].repeat(SIZE[0], 1)).save(path)


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("img_dir/train/{}.png", "ann_dir/train/{}.png"),  # mmseg
        ("Lung Segmentation/CXR_png/{}.png", "Lung Segmentation/masks/{}_mask.png"),
        ("Dataset_BUSI_with_GT/benign/benign ({}).png", "Dataset_BUSI_with_GT/benign/benign ({})_mask.png"),
        ("Washington/{}.png", "gt/{}.png"),
        ("labels/{}.jpg", "labels/{}.png"),
        ("segmented/strength/images/{}.png", "segmented/strength/GTs/{}.png"),
        ("leftImg8bit/{}.png", "gtFine/{}.png"),
    ],
)
def test_folders_of_maps_are_those_that_pictures_are_not_in(tmp_path: Path, image: str, label: str) -> None:
    """A folder above both, such as that of the whole dataset, says nothing, whatever its name."""
    for number in range(3):
        picture(tmp_path / image.format(number), number)
        filled(tmp_path / label.format(number))
    picture(tmp_path / image.format("alone"))
    collection = read(Folder(tmp_path))
    assert [(str(entry.file), str(entry.maps[0])) for entry in collection.pictures] == [
        (image.format(number), label.format(number)) for number in range(3)
    ]
    assert collection.aside == {NO_LABELS: [image.format("alone")]}


def test_further_masks_of_a_picture_are_no_objects(tmp_path: Path) -> None:
    """BUSI has several of few pictures: these became all of the dataset, with one class, "mask"."""
    for number in range(4):
        picture(tmp_path / "benign" / f"benign ({number}).png", number)
        filled(tmp_path / "benign" / f"benign ({number})_mask.png", (0, 255))
    for number in (1, 2):
        filled(tmp_path / "benign" / f"benign (3)_mask_{number}.png", (0, 255))
    collection = read(Folder(tmp_path))
    assert len(collection.pictures) == 4
    assert collection.has_maps
    for file in (tmp_path / "benign").glob("*_mask.png"):
        file.unlink()
    assert [thing.name for thing in read(Folder(tmp_path)).things()] == ["mask"]


def test_a_map_is_of_the_picture_in_folders_of_its_name(tmp_path: Path) -> None:
    """MVTec AD counts pictures anew in each folder, and those without a fault have no map."""
    for folder in ("train/good", "test/good", "test/crack", "test/hole"):
        for number in range(2):
            picture(tmp_path / "nut" / folder / f"{number:03d}.png", number)
    for folder in ("crack", "hole"):
        for number in range(2):
            filled(tmp_path / "nut" / "ground_truth" / folder / f"{number:03d}_mask.png", (0, 255))
    collection = read(Folder(tmp_path))
    assert {str(entry.file): entry.maps[0].parts[2] for entry in collection.pictures} == {
        f"nut/test/{folder}/{number:03d}.png": folder for folder in ("crack", "hole") for number in range(2)
    }
    assert {what: len(where) for what, where in collection.aside.items()} == {NO_LABELS: 4}


def test_numbers_that_a_list_names_are_not_those_of_cityscapes(tmp_path: Path) -> None:
    """CVAT writes files of Cityscapes' names with numbers of its own."""
    cityscapes(tmp_path, dict(labelIds=7))
    names = [f"{number} {number} 9 class {number}\n" for number in range(12)]
    (tmp_path / "label_colors.txt").write_text("".join(names))
    collection = read(Folder(tmp_path))
    assert collection.classes[7] == "class 7"
    assert not collection.doubts
    (tmp_path / "label_colors.txt").write_text("".join(names[:8]))
    assert read(Folder(tmp_path)).doubts
