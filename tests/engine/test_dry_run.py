"""`doctor CONFIG --dry-run`: one step of everything, and what is said where one fails."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from families import FAMILIES
from makers import write_coco
from test_processes import DETECTOR, SEGMENTER, write_images

from mmvit.checks.findings import Finding
from mmvit.commands.doctor import main
from mmvit.engine import dry_run as dry
from mmvit.engine.configuration import TrainOptions, train_config
from mmvit.engine.dry_run import dry_run

pytestmark = pytest.mark.stack

T2T = next(family for family in FAMILIES if family.name == "T2TViT")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dry")
    write_coco(folder / "data" / "coco", images=9)
    for split in ("train2017", "val2017"):
        write_images(folder / "data" / "coco" / split, 9)
    for part in ("images", "maps"):
        (folder / "data" / "seg" / part).mkdir(parents=True)
    write_images(folder / "data" / "seg" / "images", 5, folder / "data" / "seg" / "maps")
    (folder / "detector.py").write_text(DETECTOR)
    (folder / "segmenter.py").write_text(SEGMENTER)
    return folder


@pytest.fixture
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(home)
    return home


def run(name: str, **options: Any) -> dict[str, Finding]:
    return {finding.subject: finding for finding in dry_run(Path(f"{name}.py"), options)}


@pytest.mark.parametrize("name", ["detector", "segmenter"])
def test_what_works_works_in_every_step(at_home: Path, name: str) -> None:
    before = sorted(at_home.rglob("*"))
    found = run(name)
    assert {what: finding.ok for what, finding in found.items()} == dict.fromkeys(
        ["train step", "val step", "checkpoint", "resume"], True
    ), [str(finding) for finding in found.values()]
    assert "loss" in found["train step"].text
    assert ("coco/bbox_mAP" if name == "detector" else "mIoU") in found["val step"].text, "evaluated, not skipped"
    assert sorted(at_home.rglob("*")) == before, "all in a temporary folder"


def test_the_part_that_fails_is_named(at_home: Path) -> None:
    finding = run("segmenter", **{"model.decode_head.loss_decode.class_weight": [1.0, 2.0]})["dry run"]
    assert finding.ok is False
    assert finding.text.startswith("first training step: RuntimeError: weight tensor should be defined")
    assert "in model.decode_head.loss_decode (CrossEntropyLoss)" in finding.text
    assert "class_weight needs a number for each class" in finding.text


def test_what_only_the_evaluation_needs(at_home: Path) -> None:
    file = at_home / "data" / "coco" / "annotations" / "instances_val2017.json"
    whole = file.read_text()
    content = json.loads(whole)
    for entry in content["annotations"]:
        del entry["iscrowd"]
    file.write_text(json.dumps(content))
    try:
        finding = run("detector")["dry run"]
    finally:
        file.write_text(whole)
    assert finding.text.startswith("evaluation: KeyError: iscrowd")


@pytest.mark.once
def test_maps_that_no_loss_reaches(at_home: Path) -> None:
    backbone = dict(type="mmvit.T2TViT", arch=T2T.tiny, init_cfg=None)
    channels = list(T2T.build().out_channels)
    options = {
        "model.backbone": dict(_delete_=True, **backbone),
        "model.neck.in_channels": channels,
        "model.neck.start_level": 1,
        "model.neck.add_extra_convs": "on_input",
    }
    found = run("detector", **options)
    told = found["gradients"].text
    assert found["gradients"].ok is False
    assert "parameters get no gradient (backbone." in told
    cure = f"model.backbone.out_indices=(1, 2, 3), model.neck.in_channels={channels[1:]}, model.neck.start_level=0"
    assert told.endswith(f"Write {cure}")
    options |= {"model.neck.in_channels": channels[1:], "model.neck.start_level": 0}
    options["model.backbone"]["out_indices"] = (1, 2, 3)
    assert "gradients" not in run("detector", **options), "the cure cures"


@pytest.mark.once
def test_the_command(at_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detector.py", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "ok   train step   loss " in told
    assert told.rstrip().endswith("all is well")
    assert main(["detector.py", "--dry-run", "--cfg-options", "model.bbox_head.num_classes=3"]) == 1
    assert "--   dry run      not tried: mend what is marked FIX first" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--dry-run"])


def test_nothing_is_sent_and_nothing_downloaded(at_home: Path, tmp_path: Path) -> None:
    options = {"visualizer.vis_backends": [dict(type="WandbVisBackend")], "model.backbone.init_cfg": None}
    cfg = train_config(TrainOptions(Path("detector.py"), tmp_path, cfg_options=options))
    cfg.model.backbone.init_cfg = dict(type="Pretrained", checkpoint="https://example.org/absent.pth")
    dry.shrink(cfg)
    assert cfg.visualizer.vis_backends == [dict(type="LocalVisBackend")]
    assert cfg.model.backbone.init_cfg is None
    assert cfg.train_dataloader.dataset.indices == 4
