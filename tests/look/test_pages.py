"""`mmvit analyze` and `mmvit browse` as a user calls them, on tiny models; the pages in a real browser."""

import contextlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from pages import Parsed, check_in_browser
from PIL import Image
from predict.trained import Trained

from mmvit.__main__ import main
from mmvit.look.analysis import analyze
from mmvit.look.charts import number

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module", params=["mask_rcnn", "mask2former", "segformer"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    trained = Trained(request.param, tmp_path_factory.mktemp(request.param))
    if trained.segments:
        for index, path in enumerate(sorted(trained.images.iterdir())):
            shape = np.asarray(Image.open(path)).shape[:2]
            labels = np.random.default_rng(index).integers(0, 12, (shape[0] // 16, shape[1] // 16)).astype(np.uint8)
            maps = Path(str(trained.images).replace("images", "annotations"))
            Image.fromarray(labels.repeat(16, axis=0).repeat(16, axis=1)).save(maps / path.name)
    return trained


def evaluated(trained: Trained) -> dict[str, float]:
    """What the toolkit's own evaluator says of the same checkpoint."""
    cfg = Config.fromfile(trained.config)
    cfg.update(work_dir=str(trained.folder / "work"), load_from=str(trained.checkpoint), log_level="ERROR")
    with contextlib.redirect_stdout(io.StringIO()):
        return Runner.from_cfg(cfg).test()


def teach(trained: Trained) -> None:
    """Make annotations of what the model finds, so that its figures are not all 0."""
    path = trained.folder / "data/coco/annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"] = []
    for image, result in zip(content["images"], trained.predictor()(trained.images), strict=True):
        for entry in result.to_coco(image["id"], range(1, 11))[::3]:
            entry["bbox"][2] *= 1.2
            entry |= dict(id=len(content["annotations"]) + 1, iscrowd=0, area=entry["bbox"][2] * entry["bbox"][3])
            content["annotations"].append(entry)
    path.write_text(json.dumps(content))


def test_the_figures_are_the_evaluators(trained: Trained, tmp_path: Path) -> None:
    if not trained.segments:
        teach(trained)
    told = analyze(trained.cfg, trained.checkpoint, tmp_path / "page.html", split="test")
    theirs = evaluated(trained)
    if trained.segments:
        pairs = [(told[name], theirs[name]) for name in ("mIoU", "mAcc", "aAcc")]
        tolerance = 0.006  # mmseg rounds to two digits
    else:
        ends = {"AP": "", "AP50": "_50", "AP75": "_75", "AP small": "_s", "AP medium": "_m", "AP large": "_l"}
        pairs = [(told[name], theirs[f"coco/segm_mAP{end}"]) for name, end in ends.items() if told[name] == told[name]]
        tolerance = 0.0006  # mmdet rounds to three
        assert len(pairs) >= 4
    np.testing.assert_allclose(*zip(*pairs, strict=True), atol=tolerance)
    assert pairs[0][0] > 0


def test_analyze(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "analysis.html"
    assert main(["analyze", str(trained.config), str(trained.checkpoint), "--out", str(out), "--score", "0.01"]) == 0
    (said,) = capsys.readouterr().out.splitlines()
    assert said.endswith(f"see {out}")
    assert "nan" not in said
    assert trained.segments or (said.startswith("mask AP ") and ", box AP " in said)
    page = Parsed(out)
    expected = {"Figures", "Classes", "Confusion", "Calibration", "Size and crowding", "Worst images"}
    assert expected | {"Errors by place" if trained.segments else "Errors by kind"} == set(page.headings)
    assert set(trained.classes) <= set(page.cells)
    assert all(address.startswith(("data:image/", "#")) for address in page.addresses)
    assert "script" not in page.tags
    check_in_browser(out, tmp_path)


@pytest.mark.slow
def test_several_sets_stand_side_by_side(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Each row has the figures of its set alone, over the images that `indices` leave."""
    if not trained.segments:
        teach(trained)
    other = shutil.copytree(trained.folder / "data", tmp_path / "elsewhere")
    cfg, out = Config.fromfile(trained.config), tmp_path / "analysis.html"
    whole = cfg.test_dataloader.dataset
    second = {**whole, "data_root": str(other / Path(whole.data_root).relative_to(trained.folder / "data")), "indices": 2}
    cfg.test_dataloader.dataset = dict(type="ConcatDataset", datasets=[whole, second])
    cfg.dump(tmp_path / "several.py")
    assert main(["analyze", str(tmp_path / "several.py"), str(trained.checkpoint), "--split", "test", "--out", str(out)]) == 0
    rows = dict(line.split(": ") for line in capsys.readouterr().out.splitlines()[:-1])
    first = analyze(trained.cfg, trained.checkpoint, tmp_path / "page.html", split="test")
    cfg.test_dataloader.dataset = second
    alone = analyze(cfg, trained.checkpoint, tmp_path / "page.html", split="test")
    for row, figures in ((rows["data"], first), (rows["elsewhere"], alone)):
        kind = "" if trained.segments else "mask "
        told = [(name, value) for name, value in figures.items() if not name.startswith("box ")]
        assert row == ", ".join(f"{kind}{name} {number(value)}" for name, value in told)
    assert rows["data"] != rows["elsewhere"]
    assert {"data", "elsewhere", "4", "2"} <= set(Parsed(out).cells)


def test_browse(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "data.html"
    assert main(["browse", str(trained.config), "--out", str(out), "--split", "val", "--images", "3"]) == 0
    assert f"3 of 4 samples, {len(trained.classes)} classes" in capsys.readouterr().out
    page = Parsed(out)
    expected = {"What the model gets", "Classes", "Samples"} | (set() if trained.segments else {"Sizes"})
    assert set(page.headings) == expected | ({"Anchors"} if trained.head == "mask_rcnn" else set())
    assert all(address.startswith(("data:image/", "#")) for address in page.addresses)
    check_in_browser(out, tmp_path)


def test_errors_are_told(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["analyze", str(trained.config), str(tmp_path / "none.pth")]
    assert main(words) == 2
    assert "none.pth" in capsys.readouterr().err
    assert main(["analyze", str(trained.config), "model.onnx"]) == 2
    assert "model.onnx: an exported model" in capsys.readouterr().err
    for score in ("50", "nan"):
        assert main(["analyze", str(trained.config), str(trained.checkpoint), "--score", score]) == 2
        assert "expected a number from 0 to 1" in capsys.readouterr().err
    cfg = Config.fromfile(trained.config)
    cfg.pop("val_dataloader")
    cfg.dump(tmp_path / "bare.py")
    assert main(["browse", str(tmp_path / "bare.py"), "--split", "val"]) == 2
    assert "no val_dataloader" in capsys.readouterr().err
