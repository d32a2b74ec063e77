"""Every training leaves its results as files, whole at any time; trackers get what they take."""

import csv
import json
import re
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import VISBACKENDS
from small_run import kill, resumed, runner, train

from mmvit.config.work_dirs import read_scalars
from mmvit.engine import configuration
from mmvit.engine.configuration import TrainOptions, train_config
from mmvit.engine.figures import split_by_class
from mmvit.engine.launch import _other_figures
from mmvit.engine.progress import ProgressHook
from mmvit.engine.results import Results, ResultsHook, Validation, closing_lines, note_test, read_results
from mmvit.engine.trackers import TRACKERS
from mmvit.errors import InputError

pytestmark = pytest.mark.stack
HOOK = dict(type="mmvit.ResultsHook")


@pytest.mark.parametrize("by_epoch", [True, False])
def test_a_run_leaves_its_results(tmp_path: Path, by_epoch: bool) -> None:
    run = runner(tmp_path, hooks=[HOOK], by_epoch=by_epoch)
    train(run)
    results = read_results(tmp_path)
    seen = [(entry.iteration, entry.epoch) for entry in results.validations]
    assert seen == ([(4, 1), (8, 2), (12, 3)] if by_epoch else [(4, None), (8, None), (11, None)])
    assert all(entry.loss is not None and entry.loss > 0 for entry in results.validations)
    assert results.iterations == seen[-1][0]
    scores = [entry.metrics["score"] for entry in results.validations]
    assert results.metrics == {"score": max(scores)}  # type: ignore[type-var]
    assert results.metric == "score"
    assert Path(str(results.best)).is_file()
    assert Path(str(results.checkpoint)).is_file()
    with (tmp_path / "results.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["score"]) for row in rows] == scores
    assert list(rows[0]) == ["iteration", "epoch", "loss", "score"]
    assert not list(tmp_path.glob("*.partial"))


def test_a_killed_run_has_results_and_goes_on_with_them(tmp_path: Path) -> None:
    dying = dict(type="KillHook", at=9, moment="before_train_iter")
    kill(runner(tmp_path, hooks=[HOOK, dying]))
    before = read_results(tmp_path)
    assert [entry.epoch for entry in before.validations] == [1, 2]
    train(resumed(tmp_path, hooks=[HOOK]))
    after = read_results(tmp_path)
    assert after.validations[:2] == before.validations
    assert [entry.epoch for entry in after.validations] == [1, 2, 3]


def test_another_training_in_the_folder_begins_anew(tmp_path: Path) -> None:
    """What was there is kept under another name, from the first checkpoint on: until then, one resumes the old training."""
    old = Results(str(tmp_path), "x.py", validations=[Validation(1, 1, 0.5, {"score": 9.0})], tests={"old.pth": {"score": 8.0}})
    old.write()
    (tmp_path / "before_1_results.csv").touch()
    kill(runner(tmp_path, hooks=[HOOK, dict(type="KillHook", at=1, moment="before_train_iter")]))
    assert read_results(tmp_path) == old
    kill(runner(tmp_path, hooks=[HOOK, dict(type="KillHook", at=2)]))
    assert json.loads((tmp_path / "before_2_results.json").read_text()) == asdict(old)
    assert (tmp_path / "before_2_results.csv").read_text().splitlines()[1].startswith("1,1,0.5,9.0")
    assert read_results(tmp_path) is None
    run = resumed(tmp_path, hooks=[HOOK, dict(type="KillHook", at=3)])
    testing: Any = Hook()
    testing.before_val = lambda runner: note_test(runner, "iter_3.pth", {"score": 5.0})
    run.register_hook(testing)
    kill(run)
    results = read_results(tmp_path)
    assert [entry.iteration for entry in results.validations] == [4]
    assert results.tests == {"iter_3.pth": {"score": 5.0}}, "measured while it trained"
    assert len(list(tmp_path.glob("before_*"))) == 3


@pytest.mark.parametrize("way", [shutil.copytree, shutil.move])
def test_a_test_in_a_copy_or_moved_folder_leaves_the_original(tmp_path: Path, way: Any) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    Results(str(old), "x.py", validations=[Validation(1, 1, 0.5, {"score": 9.0})]).write()
    way(old, new)
    before = {file: file.read_bytes() for file in old.glob("*")}
    note_test(SimpleNamespace(work_dir=str(new), cfg=SimpleNamespace(filename="x.py")), "x.pth", {"score": 3.0})  # type: ignore[arg-type]
    assert read_results(new).tests == {"x.pth": {"score": 3.0}}
    assert {file: file.read_bytes() for file in old.glob("*")} == before


@pytest.mark.parametrize(("last", "kept"), [(0, []), (6, [4])])
def test_a_run_that_resumes_another_folder_begins_anew(tmp_path: Path, last: int, kept: list[int]) -> None:
    entries = [Validation(iteration, None, 0.5, {"score": 9.0}) for iteration in (4, 8)]
    Results(str(tmp_path), "x.py", validations=entries).write()
    other: Any = SimpleNamespace(iter=7, cfg=Config(dict(joined=dict(loss=last))), work_dir=str(tmp_path), val_loop=None)
    other.val_evaluator, other.timestamp, hook = None, "1", ResultsHook()
    hook.before_train(other)
    assert [entry.iteration for entry in hook.results.validations] == kept


def test_half_a_line_of_a_log_is_left_out(tmp_path: Path) -> None:
    log = tmp_path / "20261130_101010" / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    log.write_text('{"loss": 1.0, "step": 1}\n{"loss": 1.{"loss": 2.0, "step": 2}\n{"loss": 3.0, "step": 3}\n{"lo')
    assert [entry["step"] for entry in read_scalars(tmp_path)] == [1, 3]


def test_figures_of_classes() -> None:
    metrics = {"coco/bbox_mAP": 0.25, "coco/bbox_mAP_s": -1.0, "coco/a nut_precision": 0.5, "coco/bolt_precision": float("nan")}
    figures, by_class = split_by_class(metrics, {}, ["a nut", "bolt"])
    assert figures == {"coco/bbox_mAP": 0.25, "coco/bbox_mAP_s": None}, "-1 stands for nothing to measure"
    assert by_class == {"a nut": {"AP": 0.5}, "bolt": {"AP": None}}
    names = ("lvis/bbox_APl", "lvis/segm_AP75", "lvis/ARs@300", "x/bbox_mAP_s", "coco/AR_l@1000", "coco/AR@100")
    assert split_by_class(dict.fromkeys(names, -1.0), {}, []) == (dict.fromkeys(names), {})
    assert split_by_class({"own/correlation": -1.0}, {}, []) == ({"own/correlation": -1.0}, {}), "of a metric that can be -1"
    assert split_by_class({"mIoU": 50.0}, {"IoU": [40.0, float("nan")]}, ["sky", "road"]) == (
        {"mIoU": 50.0},
        {"sky": {"IoU": 40.0}, "road": {"IoU": None}},
    )


def test_figures_of_classes_with_slashes_in_their_names() -> None:
    metrics = {"coco/car/truck_precision": 0.5, "coco/truck_precision": 0.1, "coco/bbox_mAP": 0.3}
    figures, by_class = split_by_class(metrics, {}, ["truck", "car/truck"])
    assert figures == {"coco/bbox_mAP": 0.3}
    assert by_class == {"car/truck": {"AP": 0.5}, "truck": {"AP": 0.1}}


def test_figures_of_classes_of_several_datasets() -> None:
    """With mmdet's MultiDatasetsEvaluator, which puts the dataset before the names."""
    metrics = {"one/coco/a/b_precision": 0.5, "two/coco/a/b_precision": 0.25, "two/coco/bbox_mAP": -1.0}
    figures, by_class = split_by_class(metrics, {}, ["a/b"])
    assert (figures, by_class) == ({"two/coco/bbox_mAP": None}, {"a/b": {"one AP": 0.5, "two AP": 0.25}})
    _, by_class = split_by_class(metrics, {"one segm AP": [0.75]}, ["a/b"])
    assert by_class == {"a/b": {"one segm AP": 0.75, "two AP": 0.25}}


def test_what_is_no_number_is_left_out() -> None:
    metrics = dict(scores=np.arange(3.0), names="a", none=None, several=torch.ones(2), one=torch.tensor(0.5), count=np.int64(2))
    assert split_by_class(metrics, {}, ()) == ({"one": 0.5, "count": 2.0}, {})
    said: list[str] = []
    hook = ProgressHook()
    hook.progress = SimpleNamespace(remove_task=lambda _: None, print=said.append)  # type: ignore[assignment]
    hook.tasks = dict(val=0)  # type: ignore[dict-item]
    hook.after_val_epoch(SimpleNamespace(iter=4), metrics)  # type: ignore[arg-type]
    assert said == ["val after 4 iterations: one 0.500  count 2.000"]


@pytest.mark.parametrize(
    ("name", "epoch"),
    [
        ("best_s_epoch_4.pth", 4),
        ("best_s_iter_4.pth", 1),
        ("best_s_it_000008.pth", 2),
        ("best_s_e03.pth", 3),
        ("best.pth", None),
    ],
)
def test_the_validation_of_the_best(name: str, epoch: int | None) -> None:
    found = [Validation(4 * number, number, None, {}) for number in (1, 2, 3, 4)]
    best = Results("w", "c.py", best=f"w/{name}", validations=found).best_validation
    assert (best and best.epoch) == epoch


def test_a_test_with_other_options_replaces_no_figures() -> None:
    given = configuration.TestOptions  # whose name pytest would take for a test
    plain, other = given("c.py"), given("c.py", data_root="d", tta=True, cfg_options={"model.x": 1})
    assert list(_other_figures(plain)) == []
    assert list(_other_figures(other)) == ["--tta", "--data-root d", "model.x=1"]


def test_boxes_and_masks_of_a_class_are_told_apart(tmp_path: Path) -> None:
    from mmdet.evaluation import CocoMetric

    image, kind = dict(id=1, file_name="a.png", width=20, height=20), dict(id=1, name="nut")
    thing = dict(id=1, image_id=1, category_id=1, bbox=[2, 2, 10, 10], area=100, iscrowd=0)
    content = dict(images=[image], categories=[kind], annotations=[thing | dict(segmentation=[[2, 2, 12, 2, 12, 12, 2, 12]])])
    (tmp_path / "a.json").write_text(json.dumps(content))
    metric = CocoMetric(str(tmp_path / "a.json"), metric=["bbox", "segm"], classwise=True)
    metric.dataset_meta = dict(classes=("nut",))
    evaluating = SimpleNamespace(metrics=[metric])
    cfg = SimpleNamespace(filename="c.py", get=lambda _: None)
    run = SimpleNamespace(work_dir=str(tmp_path), cfg=cfg, iter=0, val_loop=evaluating, val_evaluator=evaluating)
    hook = ResultsHook()
    hook.before_train(run)  # type: ignore[arg-type]
    mask = torch.zeros(1, 20, 20, dtype=torch.bool)
    mask[0, :4, :4] = True
    found = dict(bboxes=torch.tensor([[2.0, 2, 12, 12]]), scores=torch.ones(1), labels=torch.zeros(1, dtype=int), masks=mask)
    metric.process({}, [dict(pred_instances=found, img_id=1, ori_shape=(20, 20))])
    figures, by_class = split_by_class(metric.evaluate(1), hook.tables, ["nut"])
    assert by_class == {"nut": {"bbox AP": 1.0, "segm AP": 0.0}}
    assert (figures["coco/bbox_mAP"], figures["coco/segm_mAP"]) == (1.0, 0.0)


def test_closing_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    classes = {f"class {number}": {"IoU": float(number)} for number in range(25)}
    found = [Validation(10, None, 0.5, {"mIoU": 60.0}, classes), Validation(20, None, 0.4, {"mIoU": 55.5}, {})]
    folder = tmp_path / "my run"
    results = Results(str(folder), str(folder / "c.py"), 20, str(folder / "iter_20.pth"), "mIoU", None, found)
    results.best = str(folder / "best_mIoU_iter_10.pth")
    said = closing_lines(results).splitlines()
    assert said[0].split("  ")[-2:] == ["best: iteration 10", "last: iteration 20"]
    assert said[1].split() == ["mIoU", "60.000", "55.500"]
    assert len([line for line in said if line.startswith("class ")]) == 21, "a heading and the first twenty"
    assert "and 5 more in results.csv" in said
    assert said[-2] == "next: python -m mmvit predict 'my run/best_mIoU_iter_10.pth' IMAGES"
    assert said[-1].split(" analyze ")[1].startswith("'my run/c.py' 'my run/best_mIoU_iter_10.pth' --out ")
    assert closing_lines(results, analyzed=False).splitlines() == said[:-1]


def test_a_file_for_programs(tmp_path: Path) -> None:
    Results(str(tmp_path), "x.py", validations=[Validation(1, 1, None, {"mIoU": None}, {"Über": {"IoU": 3.0}})]).write()
    content = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert content["validations"][0]["by_class"] == {"Über": {"IoU": 3.0}}
    assert (tmp_path / "results.csv").read_text(encoding="utf-8") == "iteration,epoch,loss,mIoU,IoU/Über\n1,1,,,3.0\n"


NAMED = {
    "tensorboard": {},
    "wandb": dict(project="fpn_van_b0_ade20k", name="run"),
    "mlflow": dict(exp_name="fpn_van_b0_ade20k", run_name="run"),
    "clearml": dict(project_name="fpn_van_b0_ade20k", task_name="run"),
}


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    tracker = TRACKERS[name]
    options = TrainOptions("fpn_van_b0_ade20k", tmp_path / "run", track=[name])
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=f"--{name}: .*pip install {name}"):
        train_config(options)
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    options.cfg_options["visualizer.vis_backends"] = [dict(type=tracker.backend), dict(type="LocalVisBackend")]
    _, entry = train_config(options).visualizer.vis_backends  # once
    assert dict(re.findall(r"'(\w+)': '(\w+)'", str(entry))) == dict(type=tracker.backend, **NAMED[name])
    kind = VISBACKENDS.get(entry.pop("type"))
    kind(save_dir=str(tmp_path), **entry)  # takes the settings; the package is imported with the first figure
