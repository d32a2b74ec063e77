"""Evaluations that give another figure than the model deserves: each is reported before the run."""

import json
from ast import literal_eval
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, EVALUATOR, DefaultScope
from mmengine.structures import InstanceData
from small_datasets import NAMES, coco, refused, texts, with_annotation, write

from mmvit.checks.best import check_best, figures
from mmvit.checks.plan import Plan
from mmvit.checks.table import check_start

pytestmark = pytest.mark.stack


def renumbered() -> dict[str, Any]:
    """The two images with other ids."""
    content = coco()
    for entry in (*content["images"], *content["annotations"]):
        entry["id" if "file_name" in entry else "image_id"] += 4
    return content


def evaluated(root: Path, content: dict[str, Any]) -> Config:
    """A config whose evaluator reads a file of its own."""
    cfg = write(root, coco())
    (root / "other.json").write_text(json.dumps(content))
    cfg.val_evaluator.ann_file = str(root / "other.json")
    return cfg


def measured(cfg: Config, evaluator: dict[str, Any]) -> dict[str, float]:
    """The figures of perfect predictions, in a run's way."""
    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset = DATASETS.build(cfg.val_dataloader.dataset)
        metric = EVALUATOR.build(dict(type="Evaluator", metrics=[evaluator]))
        metric.dataset_meta = dataset.metainfo
        for place, sample in enumerate(dataset):
            objects = dataset.get_data_info(place)["instances"]
            boxes, labels = (torch.tensor([entry[name] for entry in objects]) for name in ("bbox", "bbox_label"))
            found = InstanceData(bboxes=boxes, labels=labels, scores=torch.ones(len(boxes)))
            sample["data_samples"].pred_instances = found
            metric.process([sample["data_samples"]], sample)
        return metric.evaluate(len(dataset))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (dict(iou_thrs=[0.5, 0.75]), "val_evaluator.iou_thrs is [0.5, 0.75], with which pycocotools cannot sum up"),
        (dict(iou_thrs=0.5), "val_evaluator.iou_thrs is 0.5, with which"),
        (dict(proposal_nums=[100]), "val_evaluator.proposal_nums has 1 number, and pycocotools reads three"),
        (dict(proposal_nums=[100], use_mp_eval=True), ""),
        (dict(proposal_nums=[1, 10, 100]), ""),
        (dict(metric="proposal_fast", iou_thrs=0.5, proposal_nums=[100]), ""),
    ],
)
def test_options_at_which_the_first_evaluation_stops(cfg: Config, options: dict[str, Any], told: str) -> None:
    cfg.val_evaluator.update(options)
    found = texts(cfg, ("val",), "wrong")
    assert len(found) == bool(told)
    assert all(text.startswith(told) for text in found)
    try:
        (figure,) = measured(cfg, dict(cfg.val_evaluator, metric_items=["mAP_75"])).values()
    except (TypeError, ValueError, IndexError):
        figure = -1  # as NumPy 1 says it
    assert figure == (-1 if told else 1)


@pytest.mark.parametrize("number", [0, "12", "a"])
def test_ids_that_pycocotools_takes_for_none(tmp_path: Path, number: Any) -> None:
    cfg = write(tmp_path, with_annotation(id=number))
    told = refused(cfg, "val")
    assert f"1 annotations have an id of 0, or of text (ids {number})" in told
    assert "Number the annotations from 1" in told
    check_start(cfg, ("train",))


def test_pycocotools_takes_0_for_none() -> None:
    """What the check says is so: perfect predictions, one object of two numbered 0."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO()
    truth.dataset = coco()
    truth.dataset["annotations"][0]["id"] = 0
    truth.createIndex()
    found = truth.loadRes([{**entry, "score": 0.9} for entry in json.loads(json.dumps(truth.dataset["annotations"]))])
    evaluation = COCOeval(truth, found, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    assert evaluation.eval["precision"][0, :, 0, 0, -1].min() < 1


def test_an_evaluator_with_other_ids(tmp_path: Path) -> None:
    told = refused(evaluated(tmp_path, renumbered()), "val")
    assert "2 of its images have other ids than in" in told
    assert "1.png is 5 and 1" in told
    text = coco()
    for entry in text["images"]:
        entry["id"] = str(entry["id"])
    for entry in text["annotations"]:
        entry["image_id"] = str(entry["image_id"])
    assert "1.png is '1' and 1" in refused(evaluated(tmp_path, text), "val")
    other = coco(images=[dict(id=1, file_name="9.png", width=96, height=64)], annotations=coco()["annotations"][:1])
    assert "it lacks 1 of the 2 images" in refused(evaluated(tmp_path, other), "val")
    for entry in (swapped := coco())["images"]:
        entry["file_name"] = f"other/{entry['file_name']}"
    assert texts(evaluated(tmp_path, swapped), ("val",), "wrong") == [], "names with other folders"
    for entry in swapped["images"]:
        entry["file_name"] = f"of_training_{entry['id']}.png"
    told = refused(evaluated(tmp_path, swapped), "val")
    assert "2 of its images have the ids of others in" in told
    assert "1 is of_training_1.png and 1.png" in told


@pytest.mark.parametrize("kind", ["CocoDataset", "Objects365V1Dataset"])
@pytest.mark.parametrize("sorts", [False, True])
def test_categories_that_one_side_sorts(tmp_path: Path, kind: str, sorts: bool) -> None:
    """By their ids: perfect predictions are measured as those of other classes."""
    content = coco(categories=[dict(id=2, name="nut"), dict(id=1, name="screw")])
    content["annotations"][1]["category_id"] = 2
    cfg = write(tmp_path, content)
    cfg.val_dataloader.dataset.type = kind
    cfg.val_dataloader.dataset.metainfo.classes = ("nut", "screw") if kind == "CocoDataset" else NAMES
    cfg.val_evaluator.sort_categories = sorts
    told = texts(cfg, ("val",), "wrong")
    assert measured(cfg, dict(cfg.val_evaluator))["coco/bbox_mAP"] == float(not told)
    assert len(told) == (sorts != (kind == "Objects365V1Dataset"))
    assert all("val_evaluator.ann_file have the same categories in different orders" in text for text in told)


def test_an_evaluation_of_some_images(cfg: Config) -> None:
    """The evaluator's file has all: perfect boxes would not reach an AP of 1."""
    cfg.val_dataloader.dataset.indices = [1]
    (told,) = texts(cfg, ("val",), "wrong", "doubtful")
    assert "val_dataloader.dataset.indices leaves out 1 of its 2 images, whose objects count as missed" in told
    assert "set val_evaluator.ann_file=None" in told
    cfg.val_evaluator.ann_file = None
    (refusal,) = texts(cfg, ("val",), "wrong", "doubtful")
    assert "val_evaluator has no ann_file, and val_dataloader.dataset.pipeline packs no objects to compare with" in refusal
    cfg.val_dataloader.dataset.pipeline[-1].meta_keys = literal_eval(told.partition("meta_keys=")[2])
    assert texts(cfg, ("val",), "wrong", "doubtful") == []
    assert measured(cfg, dict(cfg.val_evaluator))["coco/bbox_mAP"] == 1
    cfg.test_dataloader.update(num_batch_per_epoch=1, batch_size=1)
    (told,) = texts(cfg, ("test",), "wrong", "doubtful")
    assert "test_dataloader.num_batch_per_epoch leaves out 1 of its 2 images" in told
    cfg.test_dataloader.batch_size = 2
    assert texts(cfg, ("test",), "wrong", "doubtful") == []


def test_several_sets_with_one_evaluator(tmp_path: Path, cfg: Config) -> None:
    (tmp_path / "b.json").write_text(json.dumps(coco()))
    first = cfg.val_dataloader.dataset
    second = {**first, "ann_file": "b.json"}
    cfg.val_dataloader.dataset = dict(type="ConcatDataset", datasets=[first, second])
    told = refused(cfg, "val")
    assert "share 2 ids of images (1, 2)" in told
    assert "type='MultiDatasetsEvaluator'" in told
    (tmp_path / "b.json").write_text(json.dumps(renumbered()))
    assert "pycocotools stops at the images that it does not know" in refused(cfg, "val")
    metrics = [dict(type="CocoMetric", ann_file=str(tmp_path / name)) for name in ("ann.json", "b.json")]
    cfg.val_evaluator = dict(type="MultiDatasetsEvaluator", metrics=metrics, dataset_prefixes=["a", "b"])
    check_start(cfg, ("val",))
    metrics[1]["ann_file"] = str(tmp_path / "ann.json")
    cfg.val_evaluator = dict(type="MultiDatasetsEvaluator", metrics=metrics, dataset_prefixes=["a", "b"])
    assert "(val_evaluator.metrics.1.ann_file): 2 of its images have other ids" in refused(cfg, "val")


def test_more_objects_than_detections(tmp_path: Path) -> None:
    content = coco()
    content["annotations"] = [{**content["annotations"][0], "id": number} for number in range(1, 151)]
    cfg = write(tmp_path, content)
    told = texts(cfg, ("val",), "doubtful")
    assert any("1.png has 150 objects, model.test_cfg.max_per_img keeps 100 detections" in text for text in told)
    assert any("AP counts the 100 best detections" in text for text in told)
    cfg.model.test_cfg.max_per_img = 150
    assert not any("max_per_img" in text for text in texts(cfg, ("val",), "doubtful"))


@pytest.mark.parametrize("kind", ["crowds", "nothing"])
def test_a_validation_without_objects_ranks_nothing(tmp_path: Path, kind: str) -> None:
    content = coco(annotations=[]) if kind == "nothing" else coco()
    for entry in content["annotations"]:
        entry.update(iscrowd=1, segmentation=dict(size=[64, 96], counts=[6144]))
    cfg = write(tmp_path, content)
    cfg.default_hooks.checkpoint.save_best = "auto"
    assert "the best checkpoint (save_best='auto') would be the first" in refused(cfg, "val")
    cfg.default_hooks.checkpoint.pop("save_best")
    assert any("every figure is -1 or nan" in text for text in texts(cfg, ("val",), "doubtful"))


@pytest.mark.parametrize("mark", ["iscrowd", "ignore"])
def test_marks_that_are_text(tmp_path: Path, mark: str) -> None:
    assert "that is text" in refused(write(tmp_path, with_annotation(**{mark: "0"})))


def test_ignored_annotations_are_counted(tmp_path: Path) -> None:
    (told,) = [
        text
        for text in texts(write(tmp_path, with_annotation(ignore=1)), ("train",), "doubtful")
        if "annotations with ignore=1" in text
    ]
    assert "an evaluation by a file counts them as objects to find" in told
    assert "1 annotations (ids 7)" in told


def test_pycocotools_counts_ignored_objects() -> None:
    """What the message says is so: ignore is overwritten with iscrowd."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO()
    truth.dataset = coco()
    truth.dataset["annotations"][0]["ignore"] = 1
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes([{**truth.dataset["annotations"][1], "score": 0.9}]), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    assert evaluation.eval["precision"][0, :, 0, 0, -1].mean() < 0.6


def test_several_sets_are_measured_as_the_message_says(tmp_path: Path, cfg: Config) -> None:
    """Perfect predictions for two sets that share the ids of their images give 1 in both."""
    (tmp_path / "b.json").write_text(json.dumps(coco()))
    first = {**cfg.val_dataloader.dataset, "pipeline": [dict(type="LoadAnnotations", with_bbox=True)]}
    metrics = [dict(type="CocoMetric", ann_file=str(tmp_path / name)) for name in ("ann.json", "b.json")]
    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset = DATASETS.build(dict(type="ConcatDataset", datasets=[first, {**first, "ann_file": "b.json"}]))
        evaluator = EVALUATOR.build(dict(type="MultiDatasetsEvaluator", metrics=metrics, dataset_prefixes=["a", "b"]))
        evaluator.dataset_meta = dataset.metainfo
        for sample in dataset:
            boxes, labels = sample["gt_bboxes"].tensor, torch.as_tensor(sample["gt_bboxes_labels"])
            found = dict(bboxes=boxes, labels=labels, scores=torch.ones(len(boxes)))
            seen = dict(img_id=sample["img_id"], ori_shape=(64, 96), pred_instances=found)
            evaluator.process([seen], [seen])
        figures = evaluator.evaluate(len(dataset))
    assert {name: figures[f"{name}/coco/bbox_mAP"] for name in ("a", "b")} == {"a": 1.0, "b": 1.0}


FAST = dict(metric=["bbox", "proposal_fast"], metric_items=["mAP"])


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (FAST, {"coco/bbox_mAP", "coco/AR@100", "coco/AR@300", "coco/AR@1000"}),
        (dict(FAST, proposal_nums=[1, 2, 3, 4]), {"coco/bbox_mAP", "coco/AR@1", "coco/AR@2", "coco/AR@3", "coco/AR@4"}),
        (dict(metric="proposal", metric_items=["AR@100"], proposal_nums=[1, 2, 3]), {"coco/AR@100"}),
    ],
)
def test_figures_that_a_validation_gives(cfg: Config, options: dict[str, Any], names: set[str]) -> None:
    cfg.val_evaluator.update(options)
    assert figures(Plan(cfg, ("train", "val"))) == names == set(measured(cfg, dict(cfg.val_evaluator)))


@pytest.mark.parametrize(
    ("options", "figure", "rule"),
    [
        (dict(type="CrowdHumanMetric"), "crowd_human/mMR", "Set default_hooks.checkpoint.rule='less'"),
        (dict(type="CrowdHumanMetric"), "crowd_human/JI", "rule='greater', or 'less' where less of it is better"),
        (dict(type="mmvit.BinaryMetric"), "MAE", "Set default_hooks.checkpoint.rule='less'"),
    ],
)
def test_figures_of_which_less_is_better(cfg: Config, options: dict[str, Any], figure: str, rule: str) -> None:
    cfg.val_evaluator, cfg.default_hooks.checkpoint.save_best = dict(options), figure
    assert any(rule in finding.text for finding in check_best(Plan(cfg, ("train", "val"))))
