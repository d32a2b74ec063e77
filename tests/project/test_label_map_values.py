"""What the values of label maps mean: greys that people can tell apart, 255, and what JPEG leaves of them."""

from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from labelling import picture
from PIL import Image

from mmvit.errors import InputError
from mmvit.project.description import Collection
from mmvit.project.folder import Folder
from mmvit.project.formats import read
from mmvit.project.formats.label_maps import CHANGED
from mmvit.project.writing import parallel, write_maps

SIZE = (64, 48)


def maps(root: Path, values: tuple[int, ...], suffix: str = ".png", count: int = 3) -> None:
    """Pictures with label maps of upright stripes of the values."""
    stripes = np.array(values, np.uint8)[np.arange(SIZE[0]) * len(values) // SIZE[0]][None].repeat(SIZE[1], 0)
    (root / "labels").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture(root / "images" / f"{number}.png", number, SIZE)
        Image.fromarray(stripes).save(root / "labels" / f"{number}{suffix}")


def in_palettes(root: Path, names: str = "road,128,64,128\ncar,0,0,142\nsky,70,130,180\n", turn: bool = True) -> None:
    """Pictures with label maps of 32 columns of sky and 32 of road, which have palettes in two orders, or all in that."""
    for number in range(4):
        picture(root / "images" / f"{number}.jpg", number, SIZE)
        palette = [(70, 130, 180), (128, 64, 128)][:: -1 if turn and number % 2 else 1]
        image = Image.fromarray((np.arange(64)[None].repeat(48, 0) // 32 ^ (turn and number % 2)).astype(np.uint8))
        image.putpalette([part for colour in palette for part in colour])
        (root / "masks").mkdir(exist_ok=True)
        image.save(root / "masks" / f"{number}.png")
    if names:
        (root / "class_dict.csv").write_text(f"name,r,g,b\n{names}")


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


@pytest.mark.parametrize("values", [(0, 3, 7, 10, 255), (0, 0, 1, 2, 255), (0, 1)])
def test_numbers_of_classes_in_a_jpeg_are_no_mask(tmp_path: Path, values: tuple[int, ...]) -> None:
    """All of 0 to 10 was taken for black, and 255 for the object."""
    maps(tmp_path, values, ".jpg")
    with pytest.raises(InputError, match=rf"labels were not recognised.* labels/0\.jpg.*: perhaps {CHANGED[:40]}"):
        read(Folder(tmp_path))


def test_masks_that_were_jpeg_twice(tmp_path: Path) -> None:
    """What the first left beside white, made larger, fills blocks of the second."""
    for number in range(3):
        picture(tmp_path / "images" / f"{number}.png", number, (192, 144))
        file = tmp_path / "labels" / f"{number}.jpg"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray((np.arange(64) > 36)[None].repeat(48, 0).astype(np.uint8) * 255).save(file)
        with Image.open(file) as image:
            large = image.resize((192, 144), Image.Resampling.BICUBIC)
        large.save(file, quality=90)
    assert len(read(Folder(tmp_path)).pictures) == 3


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


@pytest.mark.parametrize(("values", "suffix"), [((0,), ".png"), ((0,), ".jpg")])
def test_maps_of_one_value(tmp_path: Path, values: tuple[int, ...], suffix: str) -> None:
    maps(tmp_path, values, suffix)
    with pytest.raises(InputError, match="every pixel of its label maps is 0"):
        read(Folder(tmp_path))


@pytest.mark.parametrize("turn", [True, False])
def test_colours_of_palettes_are_those_of_the_list(tmp_path: Path, turn: bool) -> None:
    """Programs that make PNG files smaller sort colours as they occur: index 0 was taken for the first class of the list."""
    in_palettes(tmp_path, turn=turn)
    folder = Folder(tmp_path)
    collection = read(folder)
    assert collection.classes == ["road", "car", "sky"]
    write_maps(folder, collection, tmp_path / "out")
    for entry in collection.pictures:
        assert entry.pixels == {"road": 32 * 48, "sky": 32 * 48}
        with Image.open(tmp_path / "out" / f"{entry.file}.png") as written:
            assert np.array(written)[0, [0, 63]].tolist() == [2, 0]
    assert parallel(folder, collection) is None
    (tmp_path / "masks").rename(tmp_path / "SegmentationClass")
    copytree(tmp_path / "SegmentationClass", tmp_path / "SegmentationObject")
    for entry in read(Folder(tmp_path), "objects").pictures:
        assert sorted((thing.name, thing.box[0]) for thing in entry.things) == [("road", 32), ("sky", 0)]


@pytest.mark.parametrize("names", ["", "lawn,0,200,0\n"])
def test_palettes_that_differ_need_a_list(tmp_path: Path, names: str) -> None:
    in_palettes(tmp_path, names)
    with pytest.raises(InputError, match=r"no file says which class a colour is.*palettes differ from map to map.*grey PNG"):
        read(Folder(tmp_path), pixels=True)
    in_palettes(tmp_path, names, turn=False)
    assert read(Folder(tmp_path), pixels=True).values[:2] == [0, 1]


@pytest.mark.parametrize("names", ["sky,70,130,180\nroad,128,64,128\ncar,0,0,142\n", "lawn,70,130,180\nwall,0,0,9\n"])
def test_palettes_whose_order_is_the_list_s_or_another_matter_stay_numbers(tmp_path: Path, names: str) -> None:
    in_palettes(tmp_path, names, turn=False)
    maps(tmp_path, (0, 1))
    folder = Folder(tmp_path)
    assert parallel(folder, read(folder)) is not None
