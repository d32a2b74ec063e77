"""Files of less precision, through the command, with what they cost on the embedded demo."""

import re
from pathlib import Path

import pytest
from makers import needs_segmenters
from tiny import write_checkpoint, write_config

import mmvit
from mmvit.commands import export
from mmvit.demo.dataset import DemoSpec, build
from mmvit.predict.sessions import open_session

pytestmark = [pytest.mark.stack, pytest.mark.once, needs_segmenters]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("demo") / "demo", DemoSpec(train_images=1, val_images=4))


@pytest.mark.parametrize(
    ("name", "precision", "words", "measures"),
    [
        ("fpn-PVT", "int8", ["--int8", "--calibration"], ["mIoU"]),
        pytest.param("retinanet-PVTv2", "int8", ["--int8", "--calibration"], ["bbox AP", "bbox AP50"], marks=pytest.mark.slow),
        pytest.param(
            "mask_rcnn-VAN",
            "float16",
            ["--half", "--to", "pt2"],
            ["bbox AP", "bbox AP50", "segm AP", "segm AP50"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_less_precision_tells_what_it_costs(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture, name: str, precision: str, words: list[str], measures: list[str]
) -> None:
    config = write_config(tmp_path, *name.split("-"), data=demo)
    checkpoint = write_checkpoint(config)
    images = demo / "coco" / "val2017"
    out = tmp_path / f"model{'.pt2' if 'pt2' in words else '.onnx'}"
    words = [*words, str(images)] if precision == "int8" else words
    words = [*words, "--size", "200x200"]  # of all these images, traced in a fraction of the time
    assert export.main([str(config), str(checkpoint), "--out", str(out), *words]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"agrees with the model in (9\d\.\d|100\.0)% on the mean of (1 image|[45] images),", printed)
    for measure in measures:
        assert re.search(rf"{measure} 0\.\d+ -> 0\.\d+ \([+-]0\.\d+\)", printed), printed
    assert "on 4 validation images" in printed
    assert open_session(out).metadata["precision"] == precision
    assert len(list(mmvit.Predictor(None, out, score=0.02)(images))) == 4


def test_without_data_the_loss_is_not_known(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    config = write_config(tmp_path, "fpn", "VAN")
    words = [
        str(config),
        str(write_checkpoint(config)),
        "--half",
        "--to",
        "pt2",
        "--size",
        "64x96",
        "--out",
        str(tmp_path / "model.pt2"),
    ]
    assert export.main(words) == 0
    assert "its loss of accuracy is not known, because there are no validation data" in capsys.readouterr().out


def test_8_bit_integers_ask_for_images(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        export.main(["pvt_tiny", "--int8", "--out", str(tmp_path / "model.onnx")])
    assert "--calibration DIR" in capsys.readouterr().err
    assert export.main(["pvt_tiny", "--int8", "--calibration", str(tmp_path), "--out", str(tmp_path / "model.onnx")]) == 2
    assert "no images in it" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
