"""Files of less precision, through the command, with what they cost on the embedded demo."""

import re
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from makers import needs_heads
from mmengine.config import Config
from tiny import WIDE, write_checkpoint, write_config, write_model

import mmvit
from mmvit import InputError
from mmvit.commands import export
from mmvit.demo.dataset import DemoSpec, build
from mmvit.export import integers
from mmvit.export.accuracy import loss
from mmvit.export.models import from_config
from mmvit.measure.accuracy import validation
from mmvit.predict.sessions import Session, open_session

INT8 = ["--int8", "--force", "--calibration"]  # a busy machine times tiny models by chance
needs_nncf = pytest.mark.skipif(find_spec("nncf") is None, reason="needs NNCF")

pytestmark = [pytest.mark.stack, pytest.mark.once, needs_heads]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("demo") / "demo", DemoSpec(train_images=1, val_images=4))


BOXES, MASKS = ["bbox AP", "bbox AP50"], ["segm AP", "segm AP50"]


@pytest.mark.parametrize(
    ("name", "words", "measures"),
    [
        ("fpn-PVT", INT8, ["mIoU"]),
        pytest.param("fpn-PVT", ["--to", "openvino", *INT8], ["mIoU"], marks=[pytest.mark.slow, needs_nncf]),
        pytest.param("retinanet-PVTv2", INT8, BOXES, marks=pytest.mark.slow),
        pytest.param("mask_rcnn-VAN", ["--half", "--to", "pt2"], BOXES + MASKS, marks=pytest.mark.slow),
    ],
)
def test_less_precision_tells_what_it_costs(
    demo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    words: list,
    measures: list,
) -> None:
    precision = "float16" if "--half" in words else "int8"
    monkeypatch.setattr(integers, "GROUPS", 1)  # random weights are too sensitive to gain by more
    config = write_config(tmp_path, *name.split("-"), data=demo)
    checkpoint = write_checkpoint(config, WIDE | {"retina_": 0.3})  # as sensitive as random weights may be for 8 bits
    images = demo / "coco" / "val2017"
    out = tmp_path / f"model{'.pt2' if 'pt2' in words else '.xml' if 'openvino' in words else '.onnx'}"
    words = [*words, str(images)] if precision == "int8" else words
    words = [*words, "--size", "200x200"]  # of all these images, traced in a fraction of the time
    assert export.main([str(config), str(checkpoint), "--out", str(out), *words]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"agrees with the model in (9\d\.\d|100\.0)% on the mean of (1 image|[45] images),", printed)
    timed = re.search(r"int8 [\d.]+ ms, float32 [\d.]+ ms an image on .*: [\d.]+ times as fast", printed)
    assert bool(timed) == (precision == "int8")
    for measure in measures:
        assert re.search(rf"{measure} 0\.\d+ -> 0\.\d+ \([+-]0\.\d+\)", printed), printed
    assert "on 4 test images" in printed
    assert open_session(out).metadata["precision"] == precision
    assert len(list(mmvit.Predictor(None, out, score=0.02)(images))) == 4


def test_without_data_the_loss_is_not_known(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = [*map(str, write_model(tmp_path)), "--half", "--to", "pt2", "--size", "64x96"]
    assert export.main([*words, "--out", str(tmp_path / "model.pt2")]) == 0
    assert "its loss of accuracy is not known, because there are no test data" in capsys.readouterr().out
    for head, told in (("retinanet", "expected CocoDataset with a local ann_file"), ("fpn", "expected one of mmseg's")):
        with pytest.raises(InputError, match=rf"test_dataloader\.dataset is .*: {told}"):
            validation(Config.fromfile(write_config(tmp_path, head, "PVT")))


def test_images_of_another_size_are_not_no_data(demo: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, "fpn", "PVT", data=demo)
    exportable = from_config(config, write_checkpoint(config))
    file: Any = Session(lambda feed: [], dict(exportable.metadata, size=[64, 96], batch=1))
    said = loss(exportable, file)
    assert re.match(r"its loss of accuracy is not known, because the test images cannot be used: .* takes 64 x 96 only", said)


def test_8_bit_integers_are_kept_only_if_they_are_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five percent may be chance."""
    ran: list[int] = []
    seconds = {"int8": 0.96, "float32": 1.0}

    def timed(steps: dict[str, Callable[[], None]], turns: int, warm_up: int) -> dict[str, list[float]]:
        for step in steps.values():
            step()
        return {name: [2 * seconds[name]] * turns for name in steps}

    monkeypatch.setattr(integers, "in_turns", timed)
    monkeypatch.setattr(integers, "images_of", lambda folder, metadata: iter([np.zeros((1, 2, 2, 3), np.uint8)] * 2))
    monkeypatch.setattr(integers, "open_session", lambda file, device: Session(lambda feed: ran.append(len(feed)) or [], {}))
    files = {name: tmp_path / name for name in ("int8", "float32")}
    ask = partial(integers.require_faster, files, dict(inputs=["image"]), tmp_path)
    with pytest.raises(InputError, match=r"int8 960.0 ms, float32 1000.0 ms .*: 1.04 times as fast as .* Nothing was written"):
        ask(force=False)
    assert ran == [1] * 4, "both files run on both images"
    assert "1.04 times as fast" in ask(force=True)
    seconds["int8"] = 0.5
    assert "int8 500.0 ms, float32 1000.0 ms" in ask(force=False)


def test_8_bit_integers_ask_for_images(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        export.main(["pvt_tiny", "--int8", "--out", str(tmp_path / "model.onnx")])
    assert "--calibration DIR" in capsys.readouterr().err
    assert export.main(["pvt_tiny", "--int8", "--calibration", str(tmp_path), "--out", str(tmp_path / "model.onnx")]) == 2
    assert "no images in it" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
