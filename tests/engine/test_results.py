"""Every training leaves its results as files, whole at any time, and says in a few lines what it reached."""

import csv
import json
from pathlib import Path

import pytest
from small_run import kill, resumed, runner, train

from mmvit.engine.results import Results, Validation, closing_lines, read_results, split_by_class

pytestmark = pytest.mark.stack
HOOK = dict(type="mmvit.ResultsHook")


@pytest.mark.parametrize("by_epoch", [True, False])
def test_a_run_leaves_its_results(tmp_path: Path, by_epoch: bool) -> None:
    run = runner(tmp_path, hooks=[HOOK], by_epoch=by_epoch)
    train(run)
    results = read_results(tmp_path)
    assert results is not None
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
    assert before is not None
    assert [entry.epoch for entry in before.validations] == [1, 2]
    train(resumed(tmp_path, hooks=[HOOK]))
    after = read_results(tmp_path)
    assert after is not None
    assert after.validations[:2] == before.validations
    assert [entry.epoch for entry in after.validations] == [1, 2, 3]


def test_another_training_in_the_folder_begins_anew(tmp_path: Path) -> None:
    Results(str(tmp_path), "x.py", validations=[Validation(1, 1, 0.5, {"score": 9.0})]).write()
    kill(runner(tmp_path, hooks=[HOOK, dict(type="KillHook", at=5)]))
    results = read_results(tmp_path)
    assert results is not None
    assert [entry.iteration for entry in results.validations] == [4]


def test_figures_of_classes() -> None:
    metrics = {"coco/bbox_mAP": 0.25, "coco/bbox_mAP_s": -1.0, "coco/a nut_precision": 0.5, "coco/bolt_precision": float("nan")}
    figures, by_class = split_by_class(metrics, {}, ["a nut", "bolt"])
    assert figures == {"coco/bbox_mAP": 0.25, "coco/bbox_mAP_s": None}, "-1 stands for nothing to measure"
    assert by_class == {"a nut": {"AP": 0.5}, "bolt": {"AP": None}}
    assert split_by_class({"mIoU": 50.0}, {"IoU": [40.0, float("nan")]}, ["sky", "road"]) == (
        {"mIoU": 50.0},
        {"sky": {"IoU": 40.0}, "road": {"IoU": None}},
    )


def test_closing_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    classes = {f"class {number}": {"IoU": float(number)} for number in range(25)}
    found = [Validation(10, None, 0.5, {"mIoU": 60.0}, classes), Validation(20, None, 0.4, {"mIoU": 55.5}, {})]
    folder = tmp_path / "my run"
    results = Results(str(folder), str(folder / "c.py"), 20, str(folder / "iter_20.pth"), "mIoU", None, found)
    results.best = str(folder / "best_mIoU_iter_10.pth")
    said = closing_lines(results).splitlines()
    assert said[0].split("  ")[-2:] == ["best: iteration 10", "last: iteration 20"]
    assert said[1].split() == ["mIoU", "60", "55.5"]
    assert len([line for line in said if line.startswith("class ")]) == 21, "a heading and the first twenty"
    assert "and 5 more in results.csv" in said
    assert said[-2] == "next: python -m mmvit predict 'my run/best_mIoU_iter_10.pth' IMAGES"
    assert said[-1].split(" analyze ")[1].startswith("'my run/c.py' 'my run/best_mIoU_iter_10.pth' --out ")


def test_a_file_for_programs(tmp_path: Path) -> None:
    Results(str(tmp_path), "x.py", validations=[Validation(1, 1, None, {"mIoU": None}, {"Über": {"IoU": 3.0}})]).write()
    content = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert content["validations"][0]["by_class"] == {"Über": {"IoU": 3.0}}
    assert (tmp_path / "results.csv").read_text(encoding="utf-8") == "iteration,epoch,loss,mIoU,IoU/Über\n1,1,,,3.0\n"
