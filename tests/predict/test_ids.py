"""Ids of images and categories, by which others compare results with annotations."""

import json
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from test_outputs import read, words_of
from trained import Trained, write_film

from mmvit.__main__ import main
from mmvit.engine.checkpoints import category_ids
from mmvit.predict.models import ids_of_categories
from mmvit.predict.predictor import Predictor

pytestmark = pytest.mark.stack


@pytest.mark.parametrize(("kind", "ids"), [("CocoDataset", (2, 1)), ("Objects365V1Dataset", (1, 2))])
def test_ids_of_a_file_in_the_order_that_mmdet_numbers_them(tmp_path: Path, kind: str, ids: tuple[int, ...]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(dict(categories=[dict(id=2, name="nut"), dict(id=1, name="screw")])))
    dataset = ConfigDict(type=kind, data_root=str(tmp_path), ann_file="a.json")
    assert ids_of_categories({}, ("screw", "nut"), dataset) == ids


@pytest.mark.parametrize("head", ["retinanet", "mask_rcnn", "fpn"])
def test_others_read_the_results(head: str, model_of: Callable[[str], Trained], tmp_path: Path) -> None:
    """Perfect objects come to AP 1.0 against the user's own file: with its ids of images and categories, in its order."""
    trained = model_of(head)
    categories = [dict(id=3 * number + 7, name=name) for number, name in reversed(list(enumerate(trained.classes)))]
    images = [dict(id=100 - index, file_name=f"{index}.png", height=64, width=96) for index in range(4)]
    ann = tmp_path / "own.json"
    ann.write_text(json.dumps(dict(images=images, annotations=[], categories=categories)))
    assert main(words_of(trained, tmp_path / "out", "--ann", str(ann))) == 0
    content = read(tmp_path / "out")
    assert {entry["id"] for entry in content["images"]} == {100, 99, 98, 97}
    assert {(one["id"], one["name"]) for one in content["categories"]} == {(one["id"], one["name"]) for one in categories}
    if trained.segments:
        return
    ann.write_text(json.dumps(dict(images=images, annotations=content["annotations"], categories=categories, info={})))
    with redirect_stdout(StringIO()):
        truth, again = COCO(str(ann)), COCO(str(tmp_path / "out/predictions.json"))
        assert len(again.anns) == len(content["annotations"]) > 0
        for kind in ("bbox", "segm") if head == "mask_rcnn" else ("bbox",):
            evaluation = COCOeval(truth, truth.loadRes(content["annotations"]), kind)
            evaluation.params.maxDets = [1, 10, 1000]
            evaluation.evaluate()
            evaluation.accumulate()
            precision = evaluation.eval["precision"][..., 0, -1]
            assert precision[precision > -1].min() == pytest.approx(1)


def test_a_file_that_lacks_a_class_or_an_image_is_named(
    detector: Trained, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    ann = tmp_path / "own.json"
    categories = [dict(id=number, name=name) for number, name in enumerate(detector.classes)]
    ann.write_text(json.dumps(dict(images=[dict(id=5, file_name="0.png")], annotations=[], categories=categories)))
    assert main(words_of(detector, tmp_path / "out", "--ann", str(ann))) == 1
    assert f"left out: image {detector.images / '1.png'}: --ann {ann} has no images of that name" in capsys.readouterr().err
    assert [image["id"] for image in read(tmp_path / "out")["images"]] == [5]
    twice = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        twice.append(str(tmp_path / folder / "0.png"))
        (tmp_path / folder / "0.png").write_bytes((detector.images / "0.png").read_bytes())
    film = write_film(tmp_path / "film.avi", 2)
    assert detector.predict(*twice, detector.images / "0.png", film, out=tmp_path / "twice", options=f"--ann {ann}") == 1
    told = capsys.readouterr().err
    assert told.count(f"0.png may be any of {', '.join(twice)}, {detector.images / '0.png'}. Give") == 3
    assert [image["id"] for image in read(tmp_path / "twice")["images"]] == [6, 7], "those of frames are new"
    images = [dict(id=number, file_name=name) for number, name in ((5, "../x/a/0.png"), (6, "0.png"), (7, "else\\1.png"))]
    ann.write_text(json.dumps(dict(images=images, annotations=[], categories=categories)))
    (tmp_path / "x").symlink_to(tmp_path)
    assert detector.predict(tmp_path / "x/a", tmp_path / "b", out=tmp_path / "folders", options=f"--ann {ann}") == 0
    assert [image["id"] for image in read(tmp_path / "folders")["images"]] == [5, 6]
    capsys.readouterr()
    for folder in ("moved", "else"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.png").write_bytes((detector.images / "1.png").read_bytes())
    assert detector.predict(tmp_path / "moved", out=tmp_path / "alone", options=f"--ann {ann}") == 0
    assert [image["id"] for image in read(tmp_path / "alone")["images"]] == [7]
    assert "1 image found in --ann by name alone: it has other folders" in capsys.readouterr().err
    both = tmp_path / "moved", tmp_path / "else"
    assert detector.predict(*both, out=tmp_path / "both", options=f"--ann {ann}") == 1
    assert "moved/1.png: --ann " in (told := capsys.readouterr().err)
    assert "no images of that name; else/1.png is in another folder" in told
    assert [image["file_name"] for image in read(tmp_path / "both")["images"]] == [str(tmp_path / "else/1.png")]
    nameless = dict(images=[dict(id=5, file_name=None)], categories=categories)
    for wrong, told in (
        (dict(images=[], categories=categories[1:]), "no categories named 0"),
        ([], "expected a JSON file"),
        (nameless, "an entry of images has None as its file_name"),
    ):
        ann.write_text(json.dumps(wrong))
        assert main(words_of(detector, tmp_path / "other", "--ann", str(ann))) == 2
        assert told in capsys.readouterr().err


def test_the_ids_of_the_training_are_kept(detector: Trained, tmp_path: Path) -> None:
    content = torch.load(detector.checkpoint, weights_only=False)
    numbers = [9 * number for number in range(1, 11)]
    content["meta"]["dataset_meta"]["category_ids"] = numbers
    file = tmp_path / "noted.pth"
    torch.save(content, file)
    assert list(Predictor(None, file).loaded.category_ids) == numbers
    assert list(detector.predictor().loaded.category_ids) == list(range(1, 11))  # of the annotation file of its config
    data = SimpleNamespace(cat_ids=np.array(numbers))
    assert category_ids(SimpleNamespace(datasets=[SimpleNamespace(dataset=data)])) == numbers
    assert category_ids(SimpleNamespace()) == []
