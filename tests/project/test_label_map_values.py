"""What the values of label maps mean: greys that people can tell apart, 255, and what JPEG leaves of them."""

from pathlib import Path

import numpy as np
import pytest
from labelling import picture
from PIL import Image

from mmvit.errors import InputError
from mmvit.project.description import Collection
from mmvit.project.folder import Folder
from mmvit.project.formats import read
from mmvit.project.formats.label_maps import CHANGED
from mmvit.project.writing import write_maps

SIZE = (64, 48)


def maps(root: Path, values: tuple[int, ...], suffix: str = ".png", count: int = 3) -> None:
    """Pictures with label maps of upright stripes of the values."""
    stripes = np.array(values, np.uint8)[np.arange(SIZE[0]) * len(values) // SIZE[0]][None].repeat(SIZE[1], 0)
    (root / "labels").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture(root / "images" / f"{number}.png", number, SIZE)
        Image.fromarray(stripes).save(root / "labels" / f"{number}{suffix}")


def shares(collection: Collection) -> dict[str, int]:
    return dict(collection.pictures[0].pixels)


@pytest.mark.parametrize("values", [(0, 128, 255), (0, 127, 255), (0, 85, 170, 255), (0, 64, 128, 191, 255)])
def test_white_is_a_class_of_greys(tmp_path: Path, values: tuple[int, ...]) -> None:
    """Masks of several classes that people shall see: white was taken for no class, and left out without a word."""
    maps(tmp_path, values)
    collection = read(Folder(tmp_path))
    assert collection.values == list(values)
    assert min(shares(collection).values()) > 0
    assert any("255 included" in note for note in collection.notes)
    write_maps(Folder(tmp_path), collection, tmp_path / "out")
    with Image.open(tmp_path / "out" / "images" / "0.png.png") as written:
        assert sorted(np.unique(np.array(written))) == list(range(len(values)))


@pytest.mark.parametrize(("values", "names"), [((0, 1, 255), ""), ((0, 5, 17, 255), ""), ((0, 128, 255), "0 road\n128 car\n")])
def test_pixels_that_are_left_out_are_counted(tmp_path: Path, values: tuple[int, ...], names: str) -> None:
    maps(tmp_path, values)
    (tmp_path / "classes.txt").write_text(names)
    collection = read(Folder(tmp_path))
    assert 255 not in collection.values
    left_out = 1 - sum(shares(collection).values()) / (SIZE[0] * SIZE[1])
    ((told, files),) = collection.doubts.items()
    assert f"255 is no class, and {left_out:.1%} of all pixels" in told
    assert len(files) == 3


def test_numbers_of_classes_in_a_jpeg_are_no_mask(tmp_path: Path) -> None:
    """All of 0 to 10 was taken for black, and 255 for the object."""
    maps(tmp_path, (0, 3, 7, 10, 255), ".jpg")
    with pytest.raises(InputError, match=rf"labels were not recognised.* labels/0\.jpg.*: perhaps {CHANGED[:40]}"):
        read(Folder(tmp_path))


def test_a_jpeg_that_is_no_mask_among_masks(tmp_path: Path) -> None:
    maps(tmp_path, (0, 255), ".jpg", count=5)
    Image.new("L", SIZE, 100).save(tmp_path / "labels" / "4.jpg")
    collection = read(Folder(tmp_path))
    assert collection.aside == {CHANGED: ["labels/4.jpg"]}
    assert len(collection.pictures) == 4
    write_maps(Folder(tmp_path), collection, tmp_path / "out")


def test_colours_in_jpeg_files(tmp_path: Path) -> None:
    maps(tmp_path, (90, 150), ".jpg")
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nsky,90,90,90\nroof,150,150,150\n")
    collection = read(Folder(tmp_path))
    assert not collection.pictures
    assert len(collection.aside[CHANGED]) == 3


@pytest.mark.parametrize(("values", "suffix"), [((0,), ".png"), ((0, 1), ".jpg")])
def test_maps_of_one_value(tmp_path: Path, values: tuple[int, ...], suffix: str) -> None:
    maps(tmp_path, values, suffix)
    with pytest.raises(InputError, match="every pixel of its label maps is 0"):
        read(Folder(tmp_path))
