"""`doctor CONFIG --dry-run`: one step of everything, and what is said where one fails."""

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from families import FAMILIES
from jobs import write_jobs

from mmvit.checks.findings import Finding
from mmvit.commands.doctor import main
from mmvit.engine.configuration import TrainOptions, train_config
from mmvit.trial import dry_run as dry
from mmvit.trial.dry_run import dry_run

pytestmark = pytest.mark.stack

T2T = next(family for family in FAMILIES if family.name == "T2TViT")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dry")
    write_jobs(folder, 9)
    return folder


@pytest.fixture
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(home)
    return home


def run(name: str, **options: Any) -> dict[str, Finding]:
    options = deepcopy(options)  # mmengine removes `_delete_` from them
    return {finding.subject: finding for finding in dry_run(Path(f"{name}.py"), options)}


@pytest.mark.parametrize("name", ["detector", "segmenter"])
def test_what_works_works_in_every_step(at_home: Path, name: str) -> None:
    before = sorted(at_home.rglob("*"))
    found = run(name)
    assert {what: finding.verdict for what, finding in found.items()} == dict.fromkeys(
        ["train step", "val step", "checkpoint", "resume"], "ok"
    ), [str(finding) for finding in found.values()]
    assert "loss" in found["train step"].text
    assert ("coco/bbox_mAP" if name == "detector" else "mIoU") in found["val step"].text, "evaluated, not skipped"
    assert sorted(at_home.rglob("*")) == before, "all in a temporary folder"


def test_the_part_that_fails_is_named(at_home: Path) -> None:
    finding = run("segmenter", **{"model.decode_head.loss_decode.class_weight": [1.0, 2.0]})["dry run"]
    assert finding.verdict == "wrong"
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
    assert finding.text.endswith('annotations need "iscrowd": 0, which only evaluation reads')


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
    assert found["gradients"].verdict == "wrong"
    assert "parameters get no gradient (backbone." in told
    cure = f"model.backbone.out_indices=(1, 2, 3), model.neck.in_channels={channels[1:]}, model.neck.start_level=0"
    assert told.endswith(f"Write {cure}")
    options |= {"model.neck.in_channels": channels[1:], "model.neck.start_level": 0}
    options["model.backbone"]["out_indices"] = (1, 2, 3)
    assert "gradients" not in run("detector", **options), "the cure cures"


KEYS = ("img_id", "img_path", "ori_shape", "img_shape")
LOAD = [dict(type="mmvit.LoadImage"), dict(type="LoadAnnotations", with_bbox=True)]
FAULTS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "a best figure of no evaluation": (
        "detector",
        {"default_hooks.checkpoint.save_best": "bbox_mAP"},
        ["save_best is 'bbox_mAP', and the evaluation gives no such metric; did you mean coco/bbox_mAP"],
    ),
    "no scale to undo": (
        "detector",
        {"val_dataloader.dataset.pipeline": [*LOAD, dict(type="PackDetInputs", meta_keys=KEYS)]},
        ["AssertionError: assert img_meta.get('scale_factor') is not None; in model.bbox_head", "meta_keys=('img_id', "],
    ),
    "nothing packed": (
        "detector",
        {"train_dataloader.dataset.pipeline": LOAD},
        ["KeyError: inputs", "the pipeline has to end with PackDetInputs"],
    ),
    "no boxes loaded": (
        "detector",
        {"train_dataloader.dataset.pipeline": [LOAD[0], dict(type="PackDetInputs")]},
        ["it has no boxes. Expected LoadAnnotations with with_bbox=True"],
    ),
    "too few strides of anchors": (
        "detector",
        {"model.bbox_head.anchor_generator.strides": [8, 16, 32]},
        [
            "AssertionError: assert len(featmap_sizes) == self.prior_generator.num_levels",
            "as many entries as the neck has outputs",
        ],
    ),
    "no size of a batch": (
        "segmenter",
        {"model.data_preprocessor.size": None},
        ["model.data_preprocessor needs a size for batches"],
    ),
    "a validation of which nothing is left": (
        "detector",
        {"val_dataloader.dataset.test_mode": False, "val_dataloader.dataset.filter_cfg": dict(min_size=80)},
        ["a dataset has no sample"],
    ),
}


@pytest.mark.once
@pytest.mark.parametrize("what", FAULTS)
def test_faults_with_known_remedies(at_home: Path, what: str) -> None:
    name, options, words = FAULTS[what]
    finding = run(name, **options)["dry run"]
    assert all(part in finding.text for part in words), finding.text


UPERNET = {
    "model.neck": None,
    "model.decode_head": dict(
        _delete_=True,
        type="UPerHead",
        in_channels=[8, 16, 24, 32],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2),
        channels=16,
        num_classes=3,
        norm_cfg=dict(type="BN"),
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss"),
    ),
}


def test_a_batch_norm_after_pooling_with_one_image(at_home: Path) -> None:
    finding = run("segmenter", **UPERNET)["dry run"]
    assert finding.verdict == "wrong"
    assert "first training step: ValueError: Expected more than 1 value per channel when training" in finding.text
    assert "in model.decode_head.psp_modules.0.1.bn (BatchNorm2d)" in finding.text
    assert finding.text.endswith(
        "a batch norm after pooling sees one value with one image: set train_dataloader.batch_size to 2 or more (and "
        "drop_last, where an epoch leaves one image for its last batch), or another norm_cfg for that part"
    )
    found = run("segmenter", **UPERNET, **{"train_dataloader.batch_size": 2})
    assert {finding.verdict for finding in found.values()} == {"ok"}, "both remedies help"
    group = {"model.decode_head": {**UPERNET["model.decode_head"], "norm_cfg": dict(type="GN", num_groups=2)}}
    found = run("segmenter", **{**UPERNET, **group})
    assert {finding.verdict for finding in found.values()} == {"ok"}


def test_an_epoch_that_ends_with_one_image(at_home: Path) -> None:
    """Nine images in batches of two: the first step works, the fifth fails."""
    epochs = {
        "train_dataloader.batch_size": 2,
        "train_dataloader.sampler": dict(_delete_=True, type="DefaultSampler", shuffle=True),
        "train_cfg": dict(_delete_=True, type="mmvit.EpochBasedTrainLoop", max_epochs=1, val_interval=1),
    }
    found = run("segmenter", **UPERNET, **epochs)
    assert "PolyLR ends after" in found.pop("settings").text, "the stock schedule is for 80,000 iterations"
    assert found.pop("last batch").text.startswith("9 samples in batches of 2 leave one alone at the end of an epoch")
    assert {finding.verdict for finding in found.values()} == {"ok"}
    for other in ({"train_dataloader.drop_last": True}, {"train_dataloader.batch_size": 3}):
        found = run("segmenter", **{**UPERNET, **epochs, **other})
        assert "last batch" not in found
        assert found["resume"].verdict == "ok"
    few = run("segmenter", **UPERNET, **epochs, **{"train_dataloader.dataset.indices": 5})
    assert "and drop_last, where an epoch leaves one image" in few["dry run"].text, "these are all seen"
    found = run("segmenter", **epochs)
    assert "last batch" not in found, "no part of it minds one image"
    assert found["resume"].verdict == "ok"


@pytest.mark.once
def test_the_command(at_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detector.py", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "ok           train step   loss " in told
    assert told.splitlines()[-1].endswith(" doubtful"), "it validates on the images of the training"
    assert main(["detector.py", "--dry-run", "--cfg-options", "model.bbox_head.num_classes=3"]) == 1
    assert "not checked  dry run      not tried: mend what is wrong first" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--dry-run"])


def test_nothing_is_sent_and_nothing_downloaded(at_home: Path, tmp_path: Path) -> None:
    options = {"visualizer.vis_backends": [dict(type="WandbVisBackend")], "model.backbone.init_cfg": None}
    cfg = train_config(TrainOptions(Path("detector.py"), tmp_path, cfg_options=options))
    absent = dict(type="Pretrained", checkpoint="https://example.org/absent.pth")
    cfg.model.backbone.init_cfg = cfg.model.init_cfg = cfg.model.bbox_head.anchor_generator.init_cfg = absent
    dry.shrink(cfg)
    assert cfg.visualizer.vis_backends == [dict(type="LocalVisBackend")]
    parts = cfg.model, cfg.model.backbone, cfg.model.bbox_head.anchor_generator
    assert [part.init_cfg for part in parts] == [None] * 3
    assert cfg.train_dataloader.dataset.indices == 4


@pytest.mark.parametrize(("loader", "told"), [({}, 0), (dict(drop_last=True), 1), (dict(num_batch_per_epoch=4), 1)])
def test_epochs_have_as_many_iterations_as_the_loop(at_home: Path, tmp_path: Path, loader: dict, told: int) -> None:
    """Nine images in batches of two; the schedule has five iterations."""
    cfg = train_config(TrainOptions(Path("segmenter.py"), tmp_path))
    cfg.train_cfg = dict(type="mmvit.EpochBasedTrainLoop", max_epochs=1)
    cfg.param_scheduler = [dict(type="PolyLR", by_epoch=False, begin=0, end=5)]
    assert len(list(dry._schedule(cfg, {**cfg.train_dataloader, "batch_size": 2, **loader}))) == told


def test_what_metrics_write_stays_where_it_is(at_home: Path, tmp_path: Path) -> None:
    metric = dict(type="CocoMetric", ann_file="a.json", outfile_prefix="runs/mine/val")
    written = [dict(type="DumpDetResults", out_file_path="runs/mine/val.pkl"), dict(type="IoUMetric", output_dir="runs/mine")]
    options: dict[str, Any] = {"val_evaluator": [metric, *written], "default_hooks.checkpoint": None}
    cfg = train_config(TrainOptions(Path("detector.py"), tmp_path, cfg_options=options))
    dry.shrink(cfg)
    paths = [cfg.val_evaluator[0].outfile_prefix, cfg.val_evaluator[1].out_file_path, cfg.val_evaluator[2].output_dir]
    assert [Path(path).relative_to(tmp_path).name for path in paths] == ["val", "val.pkl", "mine"]
    assert len({Path(path).parent for path in paths}) == 3
    assert cfg.val_evaluator[0].ann_file == "a.json"
    assert cfg.default_hooks.checkpoint is None
