"""Folders of Cityscapes and of COCO's panoptic task as they are downloaded."""

from pathlib import Path

import numpy as np
import pytest
from labelling import SIZE, coco_content, picture, pictures, write_json
from PIL import Image

from mmvit.errors import InputError
from mmvit.project.folder import Folder
from mmvit.project.formats import read


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
