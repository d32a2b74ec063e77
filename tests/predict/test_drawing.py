"""What is drawn on a picture: colours, names in any script, and places where they hide nothing."""

import sys

import cv2
import numpy as np
import pytest

from mmvit.errors import InputError
from mmvit.predict import drawing, fonts
from mmvit.predict.drawing import COVERED, colour_of, draw, in_a_corner, placed, plate, shared
from mmvit.predict.results import Detections, LabelMap

SIZE = (240, 320)
GREY = np.full((*SIZE, 3), 120, np.uint8)
BOX = np.array([[100, 100, 200, 200]], np.float32)


def found(boxes: np.ndarray, labels: list[int], classes: tuple[str, ...], score: float = 0.5) -> Detections:
    scores = np.full(len(boxes), score, np.float32)
    return Detections("a", SIZE, np.asarray(boxes, np.float32), scores, np.array(labels), classes)


def test_no_two_of_a_hundred_classes_look_alike() -> None:
    places = cv2.cvtColor(np.array([[colour_of(label) for label in range(100)]], np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    apart = np.linalg.norm(places[:, None] - places, axis=2)[~np.eye(100, dtype=bool)]
    assert apart.min() > 15  # of CIE's Lab; the golden angle in hue alone comes to 1


def test_an_annotation_has_no_score() -> None:
    with_score, without = (draw(GREY, found(BOX, [0], ("cat",), score), ((0, 200, 0),)) for score in (0.5, np.nan))
    wide = [(picture[80:99] == (0, 200, 0)).all(axis=2).any(axis=0).sum() for picture in (with_score, without)]
    assert wide[0] > 1.5 * wide[1] > 0


@pytest.mark.parametrize("name", ["Körper", "собака", "γάτα"])
def test_names_in_other_scripts_are_drawn(name: str) -> None:
    file = fonts.font_file(name)
    assert {ord(character) for character in name} <= fonts.characters(file)
    assert drawing.drawable((name,), 0) == name


def test_a_script_without_a_font_is_said_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", list)
    for cached in (fonts.font_file, fonts._tell):
        cached.cache_clear()
    assert [drawing.drawable(("猫", "人"), label) for label in (0, 1)] == ["class 0", "class 1"]
    draw(GREY, found(BOX, [1], ("猫", "人")))
    assert capsys.readouterr().err.count("fonts-noto-cjk") == 1
    fonts.font_file.cache_clear()


def test_names_of_a_crowd_hide_neither_objects_nor_each_other() -> None:
    rows, columns = np.meshgrid(np.arange(0, 220, 18), np.arange(0, 300, 22), indexing="ij")
    boxes = np.stack([columns, rows, columns + 14, rows + 12], -1).reshape(-1, 4).astype(np.float32)
    plates = list(placed(boxes, [plate("person 0.50", 0, 11)] * len(boxes), SIZE))
    assert len(plates) < len(boxes)
    for index, one in enumerate(plates):
        assert (shared(one.box, boxes) <= COVERED * 14 * 12).all()
        assert not shared(one.box, np.array([other.box for other in plates[:index]]).reshape(-1, 4)).any()
    lonely = np.array([[100, 100, 130, 130], [0, 0, 320, 240]], np.float32)
    assert len(list(placed(lonely, [plate("person 0.50", 0, 11)] * 2, SIZE))) == 2
    assert in_a_corner(boxes, [plate("person", 0, 11)] * 3, SIZE) == []


def test_lines_are_wider_in_larger_pictures() -> None:
    def width(size: int) -> int:
        image = np.zeros((size, size, 3), np.uint8)
        boxes = np.array([[0.3, 0.3, 0.6, 0.6]], np.float32) * size
        drawn = draw(image, Detections("a", (size, size), boxes, np.ones(1), np.zeros(1, int), ("a",)))
        return int(drawn[size // 2, : size // 2].any(axis=1).sum())

    assert width(200) == 1
    assert width(2000) >= 5


def test_label_maps_and_masks_keep_the_size_and_the_picture() -> None:
    labels = np.zeros(SIZE, np.uint8)
    labels[100:] = 1
    map_drawn = draw(GREY, LabelMap("a", SIZE, labels, ("sky", "road")))
    masks = labels[None] == 1
    mask_drawn = draw(GREY, Detections("a", SIZE, BOX, np.ones(1), np.zeros(1, int), ("a",), masks), boxes=False)
    assert map_drawn.shape == mask_drawn.shape == GREY.shape
    assert (GREY == 120).all()
    assert (mask_drawn[:80] == 120).all()
    assert (mask_drawn[220:] != 120).any(axis=2).all()


@pytest.mark.parametrize("size", [(20, 20), (20, 3000), (48, 64), (480, 640)])
def test_names_are_whole_or_not_there(size: tuple[int, int]) -> None:
    height, width = size
    image = np.full((*size, 3), 120, np.uint8)
    boxes = np.array([[0, 0, width, height / 2], [width / 4, height / 2, width, height]], np.float32)
    plates = list(placed(boxes, [plate("person 0.50", 0, drawing.letters(image))] * 2, size))
    assert len(plates) == (2 if width > 100 else 0)
    assert all(one.fits(size) for one in plates)
    drawn = draw(image, LabelMap("a", size, np.zeros(size, np.uint8), ("a road of a long name",)))
    assert (len(np.unique(drawn.reshape(-1, 3), axis=0)) > 1) == (width > 100), "no part of a name"


@pytest.mark.parametrize("classes", [("Background", "road"), ("_background_", "a road with a very long name")])
def test_the_background_and_small_pictures_stay_visible(classes: tuple[str, str]) -> None:
    labels = np.zeros((96, 128), np.uint8)
    labels[80:] = 1
    image = GREY[:96, :128]
    drawn = draw(image, LabelMap("a", (96, 128), labels, classes))
    changed = (drawn != image).any(axis=2)
    assert changed[80:].all(), "the road"
    assert changed[:80].mean() <= COVERED
    assert drawn[40:80].tolist() == image[40:80].tolist()
    nothing = draw(GREY, LabelMap("a", SIZE, np.zeros(SIZE, np.uint8), classes))
    assert 0 < (nothing != GREY).any(axis=2).mean() < 0.05, "a legend says that all is background"


def test_without_supervision_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(InputError, match=r"mmvit\[draw\]"):
        draw(GREY, found(BOX, [0], ("cat",)))
