"""Each head, exported as ONNX, gives what its checkpoint gives, without the training stack and in a browser."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from exports import Export, Exported
from makers import HOME, needs_heads, tiers
from mmengine.config import Config
from page import dropped
from tiny import SIZES, require_same, write_checkpoint, write_config

import mmvit
from mmvit.commands import export, inspect
from mmvit.predict.results import Detections, LabelMap
from mmvit.predict.sessions import open_session

pytestmark = [pytest.mark.stack, pytest.mark.once, needs_heads]  # test_formats has each head at one size
HEADS = tiers(
    ("retinanet-PVTv2", "fpn-PVT", "mask_rcnn-VAN", "upernet-VOLO", "segformer-ShuntedTransformer"),
    "mask_rcnn-VAN".__eq__,
)


@pytest.fixture(scope="module", params=HEADS)
def exported(request: pytest.FixtureRequest, exporting: Export) -> Exported:
    return exporting(request.param)


def test_an_exported_model_gives_what_its_checkpoint_gives(exported: Exported, photographs: Path) -> None:
    found = exported.require_same(photographs)
    assert [result.size for result in found] == list(SIZES)


def test_another_process_opens_it_again(exported: Exported, photographs: Path) -> None:
    predictor = mmvit.Predictor(None, exported.file, score=0.02)
    again = pickle.loads(pickle.dumps(predictor))
    for one, other in zip(again(photographs), predictor(photographs), strict=True):
        require_same(one, other, least=0)


def test_a_higher_score_leaves_the_objects_above_it(exported: Exported, photographs: Path) -> None:
    """It goes into the graph: what lies below costs time in the second stage."""
    low, high = (mmvit.Predictor(None, exported.file, score=score)(photographs) for score in (0.02, 0.3))
    for every, some in zip(low, high, strict=True):
        if isinstance(every, Detections):
            require_same(some, every.select(every.scores >= 0.3), least=0)


def test_the_file_tells_what_it_is(exported: Exported, capsys: pytest.CaptureFixture) -> None:
    assert inspect.main([str(exported.file)]) == 0
    metadata = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert json.loads(metadata["classes"]) == list("abcde")
    assert json.loads(metadata["config"]) == exported.config.stem
    assert len(json.loads(metadata["checkpoint_sha256"])) == 64
    assert json.loads(metadata["scale"]) == dict(scale=[320, 200], keep_ratio=True)
    assert json.loads(metadata["mean"]) == pytest.approx([123.675, 116.28, 103.53])


def test_the_command_predicts_without_the_training_stack(exported: Exported, photographs: Path, tmp_path: Path) -> None:
    blocked = ["torch", "torchvision", "timm", "mmcv", "mmdet", "mmseg", "mmengine", "onnx", "onnxscript"]
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked})); from mmvit.__main__ import main; "
        f"sys.exit(main({['predict', str(exported.file), str(photographs), '--score', '0.02', '--out', str(tmp_path)]}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=HOME)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "predictions.json").read_text())
    assert [entry["file_name"] for entry in written["images"]] == [str(photographs / "0.png"), str(photographs / "1.png")]
    assert written["annotations"] or all(len(entry["shares"]) > 1 for entry in written["images"])
    assert (tmp_path / "overlays" / "0.jpg").is_file()


def test_images_of_one_size_share_a_pass(exported: Exported) -> None:
    """Through segmenters; detectors take one picture at a time, with the same results."""
    generator = np.random.default_rng(0)
    images = [np.kron(generator.integers(0, 256, (5, 8, 3), np.uint8), np.ones((20, 20, 1), np.uint8)) for _ in range(3)]
    session = open_session(exported.file, "cpu")
    predictor = mmvit.Predictor(None, exported.file, score=0.02, batch_size=3)
    batches = []
    predictor.loaded.run = lambda feed: (batches.append(len(feed["image"])), session.run(feed))[1]
    together = list(predictor(images, channels="bgr"))
    assert batches == ([3] if session.metadata["batch"] is None else [1, 1, 1])
    for one, other in zip(together, mmvit.Predictor(None, exported.file, score=0.02)(images, channels="bgr"), strict=True):
        if isinstance(one, LabelMap):
            assert (one.labels == other.labels).mean() > 0.999
        else:
            require_same(one, other, least=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fpn-PVT", "mask_rcnn-VAN"])
def test_the_page_finds_what_the_predictor_finds(name: str, exporting: Export, photographs: Path, tmp_path: Path) -> None:
    exported = exporting(name)
    image = photographs / "0.png"
    found = dropped(exported.file, image, tmp_path / "page.png")
    assert found["errors"] == []
    assert found["threads"] is True
    (wanted,) = mmvit.Predictor(None, exported.file, score=0.3)(image)
    if not isinstance(wanted, Detections):
        assert (np.reshape(found["labels"], wanted.size) == wanted.labels).mean() > 0.999
        return
    objects = found["objects"]
    boxes, scores, labels = (np.array([one[key] for one in objects]) for key in ("box", "score", "label"))
    plain = Detections(wanted.source, wanted.size, wanted.boxes, wanted.scores, wanted.labels, wanted.classes)
    require_same(Detections(str(image), wanted.size, boxes, scores, labels, wanted.classes), plain)
    areas = wanted.masks.sum(axis=(1, 2))
    np.testing.assert_allclose(np.sort(found["areas"]), np.sort(areas), rtol=0.02, atol=20)


@pytest.mark.slow
def test_the_page_reads_bands_as_the_predictor_does(photographs: Path, tmp_path: Path) -> None:
    """As samples, planes or pages, in tiles or strips, with pixels without data; what the model does not read is named."""
    config = write_config(tmp_path, "fpn", "PVT", backbone=dict(in_channels=4))
    cfg = Config.fromfile(config)
    load = dict(type="mmvit.LoadBands", mean=[900, 1000, 1100, 1000], std=[120, 90, 100, 150])
    cfg.merge_from_dict(dict(model=dict(data_preprocessor=dict(mean=None, std=None, bgr_to_rgb=False))))
    cfg.test_dataloader.dataset.pipeline[0] = load
    cfg.dump(config)
    checkpoint, model = write_checkpoint(config), tmp_path / "bands.onnx"
    assert export.main([str(config), str(checkpoint), "--out", str(model), "--size", "200x316"]) == 0
    photograph = cv2.imread(str(photographs / "0.png"))
    bands = (np.dstack([photograph, 255 - photograph[..., 1]]) - 127.0) / 60 * load["std"] + load["mean"]
    bands[20:40, 30:90] = -9999
    options = dict(photometric="minisblack", extratags=[(42113, "s", 0, "-9999", True)], metadata=None)
    contiguous = dict(options, planarconfig="contig", tile=(64, 64), compression="zlib")
    tifffile.imwrite(tmp_path / "samples.tif", bands.astype(np.int16), **contiguous)
    tifffile.imwrite(tmp_path / "planes.tif", bands.astype(np.float32).transpose(2, 0, 1), **options, planarconfig="separate")
    with tifffile.TiffWriter(tmp_path / "pages.tif") as pages:
        for band in bands.astype(np.int16).transpose(2, 0, 1):
            pages.write(band, **options)
    for name in ("samples", "planes", "pages"):
        (wanted,) = mmvit.Predictor(None, model)(tmp_path / f"{name}.tif")
        found = dropped(model, tmp_path / f"{name}.tif", tmp_path / "page.png")
        assert found["errors"] == []
        assert found["labels"] is not None, found["said"]
        assert (wanted.labels != 2).mean() > 0.01
        assert (np.reshape(found["labels"], wanted.size) == wanted.labels).mean() > 0.9995
    found = dropped(model, photographs / "0.png", tmp_path / "page.png")
    assert found["said"][1] == "0.png: a picture, but the model reads TIFF files with 4 bands, as it was trained with"
    tifffile.imwrite(tmp_path / "three.tif", bands[..., :3].astype(np.int16), **contiguous)
    found = dropped(model, tmp_path / "three.tif", tmp_path / "page.png")
    assert found["said"][1] == "three.tif: 3 bands. Expected 4, as the model was trained with"


def test_the_page_names_what_is_no_model(photographs: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x0a\xff\xff")
    found = dropped(broken, photographs / "0.png", tmp_path / "page.png")
    assert found["said"] == ["broken.onnx: it is cut short, or no ONNX file", "0.png: drop a model, too"]
    assert found["errors"] == []
    image = np.full((8, 9, 4), 255, np.uint8)
    for alpha, words in ((255, "drop a model, too"), (254, "it is transparent in places, where a browser loses the colours")):
        image[5, 7] = 50, 100, 200, alpha
        cv2.imwrite(str(tmp_path / "alpha.png"), image)
        found = dropped(broken, tmp_path / "alpha.png", tmp_path / "page.png")
        assert found["said"][1].startswith(f"alpha.png: {words}")
