"""Images in tiles: what is cut is put together again."""

import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from makers import HOME
from PIL import Image
from torchvision.ops import batched_nms
from trained import Trained

from mmvit.errors import InputError
from mmvit.predict.results import Detections, LabelMap
from mmvit.predict.tiles import SAME, Tile, best, merged, tiles

pytestmark = pytest.mark.stack
SIZE = (300, 430)
CLASSES = ("cat", "dog")


@pytest.mark.parametrize("size", [(300, 430), (64, 64), (65, 1000), (10, 20), (1000, 63)])
@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5, 0.99])
def test_tiles_cover_an_image(size: tuple[int, int], overlap: float) -> None:
    seen = np.zeros(size, int)
    found = tiles(size, 64, overlap)
    for tile in found:
        part = tile.of(seen)
        assert part.shape == (min(64, size[0]), min(64, size[1]))
        part += 1
    assert seen.min() == 1
    lefts = sorted({tile.left for tile in found})
    assert all(one + 64 - other >= overlap * 64 - 1 for one, other in pairwise(lefts))
    assert len(found) == len(set(found))


@pytest.mark.parametrize("overlap", [0.0, 0.3])
def test_label_maps_are_joined(overlap: float) -> None:
    """Every pixel is taken from a tile that holds it, and far from the tile's edge where another one lies over it."""
    labels = np.random.default_rng(0).integers(0, 200, SIZE).astype(np.uint8)
    parts = []
    for tile in tiles(SIZE, 100, overlap):
        part = tile.of(labels).copy()
        if overlap:  # a model knows least at the edge
            rows, columns = np.ogrid[: part.shape[0], : part.shape[1]]
            edge = (rows < 10) & (tile.top > 0) | (rows >= 90) & (tile.bottom < SIZE[0])
            part[edge | (columns < 10) & (tile.left > 0) | (columns >= 90) & (tile.right < SIZE[1])] = 255
        parts.append((tile, LabelMap("a", part.shape, part, CLASSES)))
    found = merged("a", SIZE, parts)
    assert (found.labels == labels).all()


def seen_by(tile: Tile, boxes: np.ndarray, labels: np.ndarray, sure: np.ndarray | None) -> Detections:
    """What a perfect detector finds in a tile: objects clipped to it, by default the surer the more it sees of them."""
    limits = np.array([tile.left, tile.top, tile.right, tile.bottom], np.float32)
    inside = boxes.clip(np.tile(limits[:2], 2), np.tile(limits[2:], 2))
    areas = (inside[:, 2:] - inside[:, :2]).prod(axis=1)
    scores = areas / (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) if sure is None else sure
    kept = areas > 0
    moved = inside[kept] - np.tile(limits[:2], 2)
    masks = np.zeros((kept.sum(), tile.bottom - tile.top, tile.right - tile.left), bool)
    for mask, (left, top, right, bottom) in zip(masks, moved.astype(int).tolist(), strict=True):
        mask[top:bottom, left:right] = True
    return Detections("a", masks.shape[1:], moved, scores[kept].astype(np.float32), labels[kept], CLASSES, masks)


@pytest.mark.parametrize("sure", ["of what it sees whole", "of any part"])
def test_detections_are_merged(sure: str) -> None:
    """Objects that fit into the overlap come out once and whole, with their masks; neighbours of another class stay."""
    rows, columns = np.meshgrid(np.arange(0, 270, 33), np.arange(0, 400, 33), indexing="ij")
    corners = np.stack([columns, rows], -1).reshape(-1, 2)
    boxes = np.concatenate([corners, corners + 25], axis=1).astype(np.float32)
    labels = np.arange(len(boxes)) % 2
    places = tiles(SIZE, 100, 0.3)
    whole = np.array([(boxes >= tile[1::-1] * 2).all(1) & (boxes <= tile[:1:-1] * 2).all(1) for tile in places])
    random = np.random.default_rng(0).uniform(0.3, 1, whole.shape).astype(np.float32)
    scores = random if sure == "of any part" else [None] * len(places)
    found = merged("a", SIZE, [(tile, seen_by(tile, boxes, labels, own)) for tile, own in zip(places, scores, strict=True)])
    assert found.size == SIZE
    order, wanted = (np.lexsort(boxes.T) for boxes in (found.boxes, boxes))
    np.testing.assert_array_equal(found.boxes[order], boxes[wanted])
    assert (found.labels[order] == labels[wanted]).all()
    best = (random * whole).max(axis=0)  # of the tiles that have it whole
    assert (found.scores[order] == (best[wanted] if sure == "of any part" else 1)).all()
    for mask, (left, top, right, bottom) in zip(found.masks, found.boxes.astype(int).tolist(), strict=True):
        assert mask[top:bottom, left:right].all()
        assert mask.sum() == 25 * 25


@pytest.mark.parametrize(("shift", "kept"), [(8, 1), (20, 2)], ids=["IoU 0.67", "IoU 0.33"])
def test_overlapping_boxes_of_two_tiles_are_one_object(shift: int, kept: int) -> None:
    """From an IoU of 0.5 on; boxes of one tile that its own suppression left follow the same rule."""
    box = np.array([[30, 30, 70, 70]], np.float32)

    def found(left: int) -> Detections:
        score, label = np.array([0.9 - left / 1000], np.float32), np.zeros(1, int)
        return Detections("a", (100, 100), box + np.array([left, 0] * 2, np.float32), score, label, CLASSES)

    places = [Tile(0, 0, 100, 100), Tile(0, 10, 100, 110)]
    joined = merged("a", (100, 110), [(places[0], found(0)), (places[1], found(shift - 10))])
    assert len(joined) == kept


def test_of_boxes_of_a_class_the_best_stay() -> None:
    """As torchvision's suppression, which exported models do without."""
    random = np.random.default_rng(0)
    corners = random.uniform(0, 60, (300, 2))
    boxes = np.concatenate([corners, corners + random.uniform(5, 40, (300, 2))], axis=1).astype(np.float32)
    scores, labels = random.uniform(0, 1, 300).astype(np.float32), random.integers(0, 3, 300)
    wanted = batched_nms(*map(torch.from_numpy, (boxes, scores, labels)), SAME).tolist()
    assert 30 < len(wanted) < 250
    assert best(boxes, scores, labels).tolist() == wanted
    assert best(boxes[:0], scores[:0], labels[:0]).tolist() == []


WITHOUT_TORCH = """
import sys
sys.modules.update(dict.fromkeys(["torch", "torchvision", "timm", "mmcv", "mmdet", "mmseg", "mmengine"]))
import numpy as np
from mmvit.predict import predictor, runner

about = dict(kind="detector", classes=["a"], palette=None, inputs=["image"], size=None, scale=None, score_threshold=0.0)
found = [np.array([[5, 5, 25, 25]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64)]
runner.open_session = lambda *given: runner.Session(lambda feed: found, about)
(result,) = predictor.Predictor(None, "model.onnx", tile=40)(np.zeros((60, 90, 3), np.uint8), "bgr")
print(len(result))
"""


def test_an_exported_model_on_tiles_without_torch() -> None:
    """One object in each of the tiles."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=False, cwd=HOME)
    assert done.stdout == f"{len(tiles((60, 90), 40, 0.2))}\n", done.stderr


@pytest.fixture(scope="module", params=["mask_rcnn", "segformer"])
def trained(request: pytest.FixtureRequest, model_of: Callable[[str], Trained]) -> Trained:
    return model_of(request.param)


def test_one_tile_is_the_image(trained: Trained) -> None:
    for whole, tiled in zip(trained.predictor()(trained.images), trained.predictor(tile=96)(trained.images), strict=True):
        assert (whole.source, whole.size) == (tiled.source, tiled.size)
        assert (whole.labels == tiled.labels).all()
        if isinstance(whole, Detections):
            np.testing.assert_array_equal(whole.boxes, tiled.boxes)
            np.testing.assert_array_equal(whole.masks, tiled.masks)


def test_a_model_on_tiles(trained: Trained, tmp_path: Path) -> None:
    """Each tile goes through the whole test pipeline; a label of the joined map is one that its tile has there."""
    predictor = trained.predictor(tile=48, overlap=0.25, batch_size=2)
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    told: list[InputError] = []
    (found,) = predictor([bad, trained.images / "0.png"], failed=told.append)
    assert [str(bad) in str(error) for error in told] == [True]
    assert found.size == (64, 96)
    pixels = predictor.read(str(trained.images / "0.png"))
    whole = trained.predictor()
    (corner,) = whole(np.ascontiguousarray(pixels[:48, :48]), channels="bgr")
    if isinstance(found, LabelMap):
        assert (found.labels[:32, :36] == corner.labels[:32, :36]).all()
    else:
        assert len(found) > 0
        assert found.masks.shape[1:] == (64, 96)
        assert (np.abs(found.boxes[:, None] - corner.boxes).max(-1) < 1e-3).any()


def test_tiles_of_a_strip(trained: Trained, tmp_path: Path) -> None:
    """It is too long for one pass, and may be cut."""
    file = tmp_path / "strip.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (3, 1300, 3), dtype=np.uint8)).save(file)
    (found,) = trained.predictor(tile=100)(file)
    assert found.size == (3, 1300)
    with pytest.raises(InputError, match="at most 400 to 1"):
        list(trained.predictor()(file))


def test_tiles_that_overlap_wholly_are_refused(detector: Trained, tmp_path: Path) -> None:
    assert detector.predict(detector.images, out=tmp_path, options="--tile 48 --overlap 1") == 2
