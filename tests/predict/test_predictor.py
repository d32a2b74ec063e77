"""Predictions of each head: as `test --out` has them, from any kind of input, and as the stock inferencers make them."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import mmengine
import numpy as np
import pytest
import torch
from makers import tiers
from mmengine.structures import InstanceData
from PIL import Image
from trained import HEADS, SIZES, Trained

import mmvit
from mmvit.engine import configuration
from mmvit.errors import InputError
from mmvit.predict.results import Detections, LabelMap, run_lengths

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module", params=tiers(HEADS, ("mask_rcnn", "fpn").__contains__))
def trained(request: pytest.FixtureRequest, model_of: Callable[[str], Trained]) -> Trained:
    return model_of(request.param)


def same(one: Detections | LabelMap, other: Detections | LabelMap) -> None:
    assert type(one) is type(other)
    if isinstance(one, LabelMap):
        assert (one.labels == other.labels).mean() > 0.999
        return
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)
    assert (one.labels == other.labels).all()


def test_as_tools_test_has_them(trained: Trained, tmp_path: Path) -> None:
    from mmvit.engine.launch import test

    out = tmp_path / ("maps" if trained.segments else "out.pkl")
    options = dict(config=trained.config, checkpoint=trained.checkpoint, work_dir=tmp_path / "work", out=out)
    test(configuration.TestOptions(**options))
    found = list(trained.predictor()(trained.images))
    assert [result.source for result in found] == [str(trained.images / f"{index}.png") for index in range(4)]
    assert [result.size for result in found] == list(SIZES)
    if trained.segments:
        for index, result in enumerate(found):
            assert (np.asarray(Image.open(out / f"{index}.png")) == result.labels + 1).all()  # mmseg undoes reduce_zero_label
        return
    for result, wanted in zip(found, mmengine.load(out), strict=True):
        wanted = wanted["pred_instances"]
        order = wanted["scores"].argsort(descending=True, stable=True)
        assert len(result) == len(order) > 0
        np.testing.assert_allclose(result.boxes, wanted["bboxes"][order].numpy(), atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(result.scores, wanted["scores"][order].numpy(), atol=1e-5)
        assert (result.labels == wanted["labels"][order].numpy()).all()
        if trained.head == "mask_rcnn":
            from pycocotools.mask import decode

            masks = np.stack([decode(wanted["masks"][index]) for index in order])
            assert (result.masks == masks).all()


def test_batches_change_nothing(trained: Trained) -> None:
    files = sorted(trained.images.iterdir())
    for one, other in zip(trained.predictor()(files), trained.predictor(batch_size=3)(files), strict=True):
        assert one.source == other.source
        same(one, other)


def test_without_a_config_and_with_augmentation(trained: Trained) -> None:
    own = mmvit.Predictor(None, trained.checkpoint, score=0.0)
    assert own.classes == trained.classes
    for one, other in zip(own(trained.images), trained.predictor()(trained.images), strict=True):
        same(one, other)
    assert len(list(mmvit.Predictor(None, trained.checkpoint, tta=True, batch_size=2)(trained.images))) == 4


INPUTS: dict[str, Callable[[Path], tuple]] = {
    "PIL": lambda path: (Image.open(path), None),
    "rgb": lambda path: (np.asarray(Image.open(path)), "rgb"),
    "bgr": lambda path: (np.asarray(Image.open(path))[..., ::-1], "bgr"),
    "tensor": lambda path: (torch.tensor(np.asarray(Image.open(path))).permute(2, 0, 1), "rgb"),
    "floats": lambda path: (np.asarray(Image.open(path), dtype=np.float32) / 255, "rgb"),
    "glob": lambda path: (f"{path.parent}/0*.png", None),
    "iterator": lambda path: (iter([str(path)]), None),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_kinds_of_input(detector: Trained, kind: str) -> None:
    path = detector.images / "0.png"
    predictor = detector.predictor()
    image, channels = INPUTS[kind](path)
    (found,), (wanted,) = list(predictor(image, channels)), list(predictor(path))
    assert len(found) > 0
    same(found, wanted)


@pytest.mark.parametrize(
    ("image", "channels", "told"),
    [
        (np.zeros((8, 8, 3), np.uint8), None, "channels='rgb'"),
        (np.zeros((8, 8, 4), np.uint8), "rgb", "shape (8, 8, 4)"),
        (np.zeros((8, 8, 3), np.int32), "rgb", "int32"),
        (np.full((8, 8, 3), 2.0), "rgb", "from 0 to 1"),
        (7, None, "a int"),
        ("nowhere.png", None, "no such file"),
    ],
)
def test_inputs_that_are_none(detector: Trained, image: object, channels: str | None, told: str) -> None:
    with pytest.raises(InputError) as caught:
        list(detector.predictor()(image, channels))
    assert told in str(caught.value)


def test_a_bad_image_does_not_stop_the_rest(detector: Trained, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    told: list[InputError] = []
    files = [detector.images / "0.png", bad, detector.images / "1.png"]
    found = list(detector.predictor(batch_size=2)(files, failed=told.append))
    assert [result.source for result in found] == [str(files[0]), str(files[2])]
    assert [str(bad) in str(error) for error in told] == [True]


def files_and_array(trained: Trained) -> tuple[list[str], np.ndarray]:
    """The paths of the images, and the pixels of the first, BGR."""
    files = [str(path) for path in sorted(trained.images.iterdir())]
    return files, np.ascontiguousarray(np.asarray(Image.open(files[0]))[..., ::-1])


def as_stock(found: InstanceData, result: Detections) -> None:
    """What a stock entry found, as NumPy arrays, is what ours found."""
    order = (-found.scores).argsort(kind="stable")
    assert len(order) == len(result) > 0
    np.testing.assert_allclose(found.scores[order], result.scores, atol=1e-5)
    np.testing.assert_allclose(found.bboxes[order], result.boxes, atol=1e-3)
    assert (found.labels[order] == result.labels).all()


def test_stock_functions(trained: Trained) -> None:
    """`init_detector` and `inference_detector`, `init_model` and `inference_model`."""
    files, array = files_and_array(trained)
    wanted = list(trained.predictor()(files))
    for source in (str(trained.config), deepcopy(trained.cfg)):
        if trained.segments:
            from mmseg.apis import inference_model, init_model

            model = init_model(source, str(trained.checkpoint), device="cpu")
            found = [inference_model(model, image) for image in (*files, array)]  # mmseg cannot batch images of two sizes
            for sample, result in zip(found, [*wanted, wanted[0]], strict=True):
                assert (sample.pred_sem_seg.data[0].numpy() == result.labels).mean() > 0.999
        else:
            from mmdet.apis import inference_detector, init_detector

            model = init_detector(source, str(trained.checkpoint), device="cpu")
            found = [*inference_detector(model, files), inference_detector(model, array)]
            for sample, result in zip(found, [*wanted, wanted[0]], strict=True):
                as_stock(sample.pred_instances.numpy(), result)


@pytest.mark.parametrize("config", [True, False], ids=["config", "of checkpoint"])
def test_stock_inferencers(trained: Trained, config: bool) -> None:
    """`DetInferencer` and `MMSegInferencer` on a path, a list, an array and a folder, with a config and without."""
    if trained.segments:
        from mmseg.apis import MMSegInferencer as Inferencer
    else:
        from mmdet.apis import DetInferencer as Inferencer
    files, array = files_and_array(trained)
    wanted = list(trained.predictor()(files))
    inferencer = Inferencer(str(trained.config) if config else None, weights=str(trained.checkpoint), device="cpu")
    folder = [files.index(path) for path in inferencer._inputs_to_list(str(trained.images))]  # in the order of the disk
    for inputs, order in ((files[0], [0]), ([array], [0]), (files, range(4)), (str(trained.images), folder)):
        if trained.segments:
            found = inferencer(inputs)["predictions"]
            for labels, index in zip([found] if len(order) == 1 else found, order, strict=True):
                assert (labels == wanted[index].labels).mean() > 0.999
        else:
            for entry, index in zip(inferencer(inputs, no_save_vis=True)["predictions"], order, strict=True):
                arrays = {name: np.array(entry[name]) for name in ("scores", "bboxes", "labels")}
                as_stock(InstanceData(**arrays), wanted[index])


@pytest.mark.parametrize("head", tiers(("retinanet", "mask_rcnn"), "retinanet".__eq__))
def test_sahi(head: str, model_of: Callable[[str], Trained]) -> None:
    """Whole, and in slices; from a file, and from an array, which SAHI takes as RGB."""
    sahi = pytest.importorskip("sahi")
    from sahi.predict import get_prediction, get_sliced_prediction

    trained = model_of(head)
    options = dict(model_path=str(trained.checkpoint), config_path=str(trained.config), device="cpu")
    model = sahi.AutoDetectionModel.from_pretrained("mmdet", confidence_threshold=0.0, **options)
    path = str(trained.images / "0.png")
    (wanted,) = trained.predictor()(path)
    for image in (path, np.asarray(Image.open(path))):
        found = get_prediction(image, model).object_prediction_list
        scores = sorted((entry.score.value for entry in found), reverse=True)
        assert len(scores) > 0
        np.testing.assert_allclose(scores, wanted.scores, atol=1e-5)
        assert all(entry.category.name in trained.classes for entry in found)
    if head == "retinanet":  # SAHI stops at masks without an outline, of which random weights make some in small slices
        sliced = get_sliced_prediction(path, model, slice_height=48, slice_width=48, verbose=0)
        assert len(sliced.object_prediction_list) > 0


def test_run_lengths_are_cocos() -> None:
    from pycocotools.mask import decode, frPyObjects

    for seed in range(3):
        mask = np.random.default_rng(seed).random((7, 5)) > 0.5
        lengths = run_lengths(mask)
        assert (decode(frPyObjects(lengths, *mask.shape)) == mask).all()


def test_results_convert(detector: Trained, tmp_path: Path) -> None:
    (found,) = detector.predictor()(detector.images / "0.png")
    entries = found.to_coco(7, category_ids=range(1, 50))
    assert len(entries) == len(found) > 0
    assert entries[0]["category_id"] == found.labels[0] + 1
    x, y, width, height = entries[0]["bbox"]
    np.testing.assert_allclose([x, y, x + width, y + height], found.boxes[0], rtol=1e-5)
    json.dumps(entries)
    labels = np.array([[0, 1], [1, 1]], np.uint8)
    LabelMap("a", (2, 2), labels, ("x", "y")).to_png(tmp_path / "a.png")
    assert (np.asarray(Image.open(tmp_path / "a.png")) == labels).all()
    assert LabelMap("a", (2, 2), labels, ("x", "y")).shares == {"y": 0.75, "x": 0.25}


def test_a_model_that_gives_no_objects_is_refused(model_of: Callable[[str], Trained]) -> None:
    """Mask2Former as mmdet's panoptic configs have it."""
    trained = model_of("mask2former")
    cfg = deepcopy(trained.cfg)
    for test in (dict(panoptic_on=True, instance_on=False), dict(panoptic_on=True)):
        cfg.model.test_cfg = test
        with pytest.raises(InputError, match=r"no objects as its config is.* set model\.test_cfg\.instance_on=True"):
            mmvit.Predictor(cfg, trained.checkpoint)
