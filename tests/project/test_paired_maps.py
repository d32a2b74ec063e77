"""Which label map a picture has, and which class a colour of it is, in folders as published sets and tools have them."""

from pathlib import Path

import numpy as np
import pytest
from labelling import SIZE, picture, pictures
from PIL import Image

from mmvit.__main__ import main
from mmvit.errors import InputError
from mmvit.project.folder import Folder
from mmvit.project.formats import read
from mmvit.project.formats.coco import _thing
from mmvit.project.writing import write_maps

COLOURS = {"road": (128, 64, 128), "car": (0, 0, 142), "sky": (70, 130, 180)}


def bands(*classes: str) -> Image.Image:
    """Bands of the classes' colours, from the top."""
    rows = np.array([COLOURS[classes[row * len(classes) // SIZE[1]]] for row in range(SIZE[1])], np.uint8)
    return Image.fromarray(rows[:, None].repeat(SIZE[0], 1))


def stripes(*values: int) -> Image.Image:
    return Image.fromarray(np.tile(np.uint8(values), (SIZE[1], SIZE[0] // len(values))))


def save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.mark.parametrize("shrunk", [False, True])
def test_a_palette_in_another_order_than_the_list(tmp_path: Path, shrunk: bool) -> None:
    """Programs that shrink PNGs give each file a palette of its own colours, in an order of their own."""
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\n" + "".join(f"{k},{r},{g},{b}\n" for k, (r, g, b) in COLOURS.items()))
    for number, classes in enumerate((("sky", "road"), ("car", "sky"), ("road", "car", "sky"))):
        picture(tmp_path / "images" / f"{number}.jpg", number)
        drawn = bands(*classes)
        save(drawn.quantize() if shrunk else drawn, tmp_path / "masks" / f"{number}.png")
    collection = read(Folder(tmp_path))
    assert [set(entry.pixels) for entry in collection.pictures] == [{"sky", "road"}, {"car", "sky"}, {"road", "car", "sky"}]
    write_maps(Folder(tmp_path), collection, tmp_path / "out")
    with Image.open(next((tmp_path / "out").rglob("0.*"))) as written:
        assert (np.array(written)[0, 0], np.array(written)[-1, 0]) == (2, 0)


def test_palettes_that_differ_without_a_list_are_told(tmp_path: Path) -> None:
    for number, classes in enumerate((("sky", "road"), ("car", "sky"))):
        picture(tmp_path / "images" / f"{number}.jpg", number)
        save(bands(*classes).quantize(), tmp_path / "masks" / f"{number}.png")
    ((told, files),) = read(Folder(tmp_path)).doubts.items()
    assert "whose palettes give one number two colours" in told
    assert files == ["masks/1.png"]


PAIRS = {
    "mmseg": ("img_dir/train/{}.jpg", "ann_dir/train/{}.png"),
    "a folder above all": ("Lung Segmentation/CXR/{}.png", "Lung Segmentation/masks/{}_mask.png"),
    "ground truth above all": ("Set_with_GT/benign/{}.png", "Set_with_GT/benign/{}_mask.png"),
    "a place with gt in its name": ("Washington/{}.png", "Washington/{}_mask.png"),
    "cityscapes": ("leftImg8bit/{}_leftImg8bit.png", "gtFine/{}_gtFine_labelTrainIds.png"),
}


@pytest.mark.parametrize("quality", [75, 95])
def test_numbers_in_a_jpeg_are_no_mask(tmp_path: Path, quality: int) -> None:
    """Few numbers and 255 look like black and white; flat patches of 1 and 2 are classes."""
    rows = np.zeros(SIZE[::-1], np.uint8)
    rows[:20, :30], rows[20:40, 30:50], rows[-6:, :8] = 1, 2, 255
    for number in range(3):
        picture(tmp_path / "images" / f"{number}.png", number)
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(rows).save(tmp_path / "masks" / f"{number}.jpg", quality=quality)
    with pytest.raises(InputError, match="labels were not recognised"):
        read(Folder(tmp_path))


@pytest.mark.parametrize("layout", PAIRS)
def test_folders_that_say_what_is_a_map(tmp_path: Path, layout: str) -> None:
    image, label = PAIRS[layout]
    for number in range(3):
        picture(tmp_path / image.format(number), number)
        save(stripes(0, 1), tmp_path / label.format(number))
    found = {str(entry.file): str(entry.maps[0]) for entry in read(Folder(tmp_path)).pictures}
    assert found == {image.format(number): label.format(number) for number in range(3)}


def test_a_second_mask_of_a_picture_is_no_object(tmp_path: Path) -> None:
    """BUSI: few pictures have `_mask_1` beside `_mask`, which are not what the set is labelled with."""
    for number in range(4):
        picture(tmp_path / f"benign ({number}).png", number)
        for suffix in ["_mask", "_mask_1"][: 1 + (number == 3)]:
            save(stripes(0, 255), tmp_path / f"benign ({number}){suffix}.png")
    collection = read(Folder(tmp_path))
    assert [str(entry.maps[0]) for entry in collection.pictures] == [f"benign ({number})_mask.png" for number in range(4)]
    assert any("benign (3)_mask_1.png" in files for files in collection.aside.values())


def test_maps_that_count_from_0_in_each_folder(tmp_path: Path) -> None:
    """MVTec AD."""
    for folder in ("train/good", "test/good", "test/crack", "test/hole"):
        picture(tmp_path / folder / "000.png", len(folder))
    for kind in ("crack", "hole"):
        save(stripes(0, 255), tmp_path / f"ground_truth/{kind}/000_mask.png")
    collection = read(Folder(tmp_path))
    found = {str(entry.file): str(entry.maps[0]) for entry in collection.pictures}
    assert found == {f"test/{kind}/000.png": f"ground_truth/{kind}/000_mask.png" for kind in ("crack", "hole")}
    assert not any("one label map together" in reason for reason in collection.aside)


def test_a_polygon_without_a_list_around_it() -> None:
    points = [10.0, 10.0, 30.0, 10.0, 30.0, 20.0]
    shapes = [_thing(dict(bbox=[10, 10, 20, 10], segmentation=drawn), "a") for drawn in (points, [points])]
    assert shapes[0] == shapes[1]
    assert shapes[0] is not None
    assert shapes[0].polygons


@pytest.mark.parametrize(("other", "fits"), [("cat\ndog\n", True), ("cat\n", True), ("dog\ncat\n", False)])
def test_lists_of_classes_in_several_folders(tmp_path: Path, other: str, fits: bool) -> None:
    """LabelImg writes one beside the labels, in the order in which the names came up."""
    for folder, listed in (("train", "cat\ndog\n"), ("val", other)):
        pictures(tmp_path / folder)
        (tmp_path / folder / "classes.txt").write_text(listed)
        for file in list((tmp_path / folder).glob("*.*")):
            if file.suffix != ".txt":
                file.with_suffix(".txt").write_text("0 .5 .5 .3 .3\n")
    if fits:
        assert read(Folder(tmp_path)).classes == ["cat", "dog"]
    else:
        with pytest.raises(InputError, match=r"classes\.txt and .*classes\.txt name different classes"):
            read(Folder(tmp_path))


@pytest.mark.stack
def test_names_that_end_like_a_suffix_pass_their_own_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(4):
        picture(tmp_path / "data" / "images" / f"{number}.jpg.jpg", number)
        save(stripes(0, 1), tmp_path / "data" / "masks" / f"{number}.jpg.png")
    code = main(["new", str(tmp_path / "data"), "--out", str(tmp_path / "project")])
    assert code == 0, capsys.readouterr()
    assert "expected names without" not in capsys.readouterr().out
