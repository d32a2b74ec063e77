"""Each head, exported as ONNX, gives what its checkpoint gives, without the training stack and in a browser."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exports import Export, Exported
from makers import HOME, needs_segmenters, tiers
from page import dropped
from tiny import SIZES, require_same

import mmvit
from mmvit.commands import inspect
from mmvit.predict.results import Detections, LabelMap
from mmvit.predict.sessions import open_session

pytestmark = [pytest.mark.stack, pytest.mark.once, needs_segmenters]  # test_formats has each head at one size
HEADS = tiers(
    ("retinanet-PVTv2", "fpn-PVT", "mask_rcnn-VAN", "upernet-VOLO", "segformer-ShuntedTransformer"),
    "mask_rcnn-VAN".__eq__,
)


@pytest.fixture(scope="module", params=HEADS)
def exported(request: pytest.FixtureRequest, exporting: Export) -> Exported:
    return exporting(request.param)


def test_an_exported_model_gives_what_its_checkpoint_gives(exported: Exported, photographs: Path) -> None:
    found = list(mmvit.Predictor(None, exported.file, score=0.02)(photographs))
    wanted = list(mmvit.Predictor(exported.config, exported.checkpoint, score=0.02, device="cpu")(photographs))
    assert [result.size for result in found] == list(SIZES)
    for one, other in zip(found, wanted, strict=True):
        require_same(one, other)


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
            assert isinstance(some, Detections)
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
            assert isinstance(other, LabelMap)
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
    assert wanted.masks is not None
    objects = found["objects"]
    boxes, scores, labels = (np.array([one[key] for one in objects]) for key in ("box", "score", "label"))
    plain = Detections(wanted.source, wanted.size, wanted.boxes, wanted.scores, wanted.labels, wanted.classes)
    require_same(Detections(str(image), wanted.size, boxes, scores, labels, wanted.classes), plain)
    areas = wanted.masks.sum(axis=(1, 2))
    np.testing.assert_allclose(np.sort(found["areas"]), np.sort(areas), rtol=0.02, atol=20)


def test_the_page_names_what_is_no_model(photographs: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x0a\xff\xff")
    found = dropped(broken, photographs / "0.png", tmp_path / "page.png")
    assert found["said"] == ["broken.onnx: it is cut short, or no ONNX file", "0.png: drop a model, too"]
    assert found["errors"] == []
