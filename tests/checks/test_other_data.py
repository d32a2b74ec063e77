"""Training sets in other formats than COCO's and label maps: each is counted, or said to be not checked."""

import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any

import pytest
from mmdet.datasets import api_wrappers
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image
from small_datasets import NAMES, coco, refusal, refused, segmenter, texts, write

from mmvit.checks.plan import Plan
from mmvit.checks.table import check_start
from mmvit.config.datasets import DatasetView
from mmvit.config.unlabelled import without_labels
from mmvit.look import analysis

pytestmark = pytest.mark.stack

XML = "<annotation><size><width>96</width><height>64</height></size>{}</annotation>"
OBJECT = (
    "<object><name>{}</name><difficult>0</difficult><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>48</xmax><ymax>48</ymax></bndbox>"
    "</object>"
)


def voc(root: Path, *names: str) -> Config:
    """A training on XML files with one object each."""
    cfg = write(root, coco())
    for folder in ("JPEGImages", "Annotations"):
        (root / folder).mkdir()
    for number, name in enumerate(names):
        Image.new("RGB", (96, 64)).save(root / "JPEGImages" / f"{number}.jpg")
        (root / "Annotations" / f"{number}.xml").write_text(XML.format(OBJECT.format(name)))
    (root / "list.txt").write_text("\n".join(str(number) for number in range(len(names))))
    cfg.train_dataloader.dataset = dict(
        type="XMLDataset",
        data_root=str(root),
        ann_file="list.txt",
        data_prefix=dict(sub_data_root=""),
        metainfo=dict(classes=NAMES),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=cfg.train_dataloader.dataset.pipeline,
    )
    return cfg


def test_names_in_xml_that_are_no_classes(tmp_path: Path) -> None:
    told = refused(voc(tmp_path / "none", "Screw", "Screw"))
    assert "nothing to learn from: no image has an object of its classes (screw, nut)" in told
    assert "Their files name 'Screw'; did you mean screw?" in told
    doubts = texts(voc(tmp_path / "half", "screw", "nutt"), ("train",), "doubtful")
    assert any(
        "1 of 2 images have no object of its classes. Their files name 'nutt'; did you mean nut?" in text for text in doubts
    )
    assert any("1 of 2 classes have no object to learn from: nut" in text for text in doubts)


def test_images_of_another_suffix_than_the_lists_name(tmp_path: Path) -> None:
    cfg = voc(tmp_path, "screw", "nut")
    (tmp_path / "JPEGImages" / "1.jpg").rename(tmp_path / "JPEGImages" / "1.JPG")
    told = refused(cfg)
    assert f"1 of its 2 images are missing: {tmp_path}/JPEGImages/1.jpg. The folder has 1.JPG" in told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (dict(indices=2), ("ok", "2 objects in 2 of 4 images to learn from")),
        (dict(indices=-1), ("ok", "1 object in 1 of 4 images to learn from")),
        (dict(filter_cfg=dict(min_size=64)), ("ok", "2 objects in 2 of 4 images to learn from")),
        (
            dict(filter_cfg=dict(min_size=65)),
            ("wrong", "leave 0 of 4 images, and these have no object of its classes. The short"),
        ),
        (
            dict(filter_cfg=None, indices=1),
            ("wrong", "leave 1 of 4 images, and these have no object of its classes. The short"),
        ),
        (dict(type="WIDERFaceDataset", data_prefix=dict(img="")), ("ok", "2 objects in 2 of 4 images to learn from")),
    ],
)
def test_what_filter_and_indices_leave(tmp_path: Path, options: dict[str, Any], told: tuple[str, str]) -> None:
    """mmengine takes the first images of those that the filter leaves, and so many has mmdet's own dataset."""
    cfg = voc(tmp_path, "none", "none", "screw", "nut")
    for number in range(2):
        (tmp_path / "Annotations" / f"{number}.xml").write_text(XML.format(""))
    for file in (tmp_path / "Annotations").iterdir():
        file.write_text(file.read_text().replace("<size>", "<folder>JPEGImages</folder><size>"))
    cfg.train_dataloader.dataset.update(options)
    assert any(told[1] in text for text in texts(cfg, ("train",), told[0]))
    with DefaultScope.overwrite_default_scope("mmdet"):
        if told[0] == "ok":
            dataset = DATASETS.build({**cfg.train_dataloader.dataset, "pipeline": []})
            assert told[1].startswith(f"{sum(len(entry['instances']) for entry in dataset)} object")


def test_images_that_a_validation_lacks(tmp_path: Path) -> None:
    cfg = voc(tmp_path, "screw", "nut")
    cfg.val_dataloader.dataset = {**cfg.train_dataloader.dataset, "filter_cfg": None, "test_mode": True}
    assert not any("missing" in text for text in texts(cfg, ("val",), "wrong"))
    (tmp_path / "JPEGImages" / "1.jpg").unlink()
    assert f"val_dataloader.dataset: 1 of its 2 images are missing: {tmp_path}/JPEGImages/1.jpg" in refused(cfg, "val")


@pytest.mark.parametrize("kind", ["XML", "COCO", "both"])
def test_classes_that_another_dataset_of_the_training_has(tmp_path: Path, kind: str) -> None:
    parts = []
    for number, name in enumerate(NAMES):
        if kind == "XML" or (kind == "both" and number):
            parts.append(voc(tmp_path / name, name).train_dataloader.dataset)
        else:
            parts.append(write(tmp_path / name, coco()).train_dataloader.dataset)
            for entry in (content := coco())["annotations"]:
                entry["category_id"] = number + 1
            Path(tmp_path, name, "ann.json").write_text(json.dumps(content))
    cfg = write(tmp_path / "whole", coco())
    cfg.train_dataloader.dataset = dict(type="ConcatDataset", datasets=parts)
    assert texts(cfg, ("train",), "wrong", "doubtful") == []
    cfg.train_dataloader.dataset.datasets[1] = parts[0]
    (told,) = (text for text in texts(cfg, ("train",), "doubtful") if "to learn from" in text)
    what = "object" if kind == "XML" else "box"
    assert f"and 1 other dataset: 1 of 2 classes have no {what} to learn from: nut" in told


def test_classes_that_lvis_numbers_otherwise(tmp_path: Path, cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its datasets ask for all categories of the file, without names."""
    package = ModuleType("lvis")
    package.__spec__, package.LVIS = ModuleSpec("lvis", None), api_wrappers.COCO
    monkeypatch.setitem(sys.modules, "lvis", package)
    content = coco()
    for entry in content["images"]:
        entry.update(coco_url=f"http://images.cocodataset.org/{entry['file_name']}", neg_category_ids=[])
    cfg.train_dataloader.dataset.type = "LVISV1Dataset"
    for first, told in ((["acorn"], "'screw' gets number 1, which is 'nut'"), ([], "")):
        names = [*first, *NAMES]
        content["categories"] = [dict(id=number + 1, name=name) for number, name in enumerate(names)]
        (tmp_path / "ann.json").write_text(json.dumps(content))
        found = [text for text in texts(cfg, ("train",), "wrong") if "whatever the 2 classes of metainfo" in text]
        assert len(found) == bool(first)
        assert all(told in text for text in found)


def test_names_of_classes_in_a_file_of_the_dataset(tmp_path: Path, cfg: Config) -> None:
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    dataset = cfg.train_dataloader.dataset
    dataset.update(type="V3DetDataset", label_file="names.txt")
    dataset.pop("metainfo")
    (view,) = Plan(cfg, ("train",)).datasets
    assert view.classes() == list(NAMES)
    assert any("2 boxes in 2 images to learn from" in text for text in texts(cfg, ("train",), "ok"))
    (tmp_path / "names.txt").unlink()
    assert "V3DetDataset cannot tell its classes: FileNotFoundError" in refused(cfg)


def test_commands_that_read_no_other_data(tmp_path: Path, cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """They say so, of what is no COCO file, before anything else."""
    assert DatasetView("val_dataloader.dataset", cfg.val_dataloader.dataset, "mmdet").is_measured
    model = SimpleNamespace(loaded=SimpleNamespace(scope="mmdet"), classes=("cat",))
    monkeypatch.setattr(analysis, "Predictor", lambda *_, **__: model)
    cfg.val_dataloader.dataset.type = "OpenImagesDataset"
    told = refusal(analysis.analyze, cfg, "x.pth", tmp_path / "a.html")
    assert told.startswith("val_dataloader.dataset is OpenImagesDataset: expected CocoDataset")
    cfg.test_dataloader.dataset = voc(tmp_path / "voc", "screw").train_dataloader.dataset
    assert not DatasetView("test_dataloader.dataset", cfg.test_dataloader.dataset, "mmdet").is_measured
    cfg.test_evaluator = dict(type="VOCMetric")
    told = refusal(without_labels, cfg, tmp_path / "out")
    assert "test_dataloader.dataset is XMLDataset, which reads labels even so. Expected CocoDataset and" in told


def test_segmentation_can_be_analyzed(tmp_path: Path) -> None:
    assert DatasetView("val_dataloader.dataset", segmenter(tmp_path).val_dataloader.dataset, "mmseg").is_measured


def panoptic(root: Path, **changed: Any) -> Config:
    """A training on two images with a segment of a thing and one of stuff each."""
    box = dict(area=900, iscrowd=0, bbox=[8, 8, 30, 30])
    segments = [dict(box, id=1, category_id=1), {**box, "id": 2, "category_id": 2, **changed}]
    categories = [dict(id=1, name="screw", isthing=1), dict(id=2, name="nut", isthing=0)]
    entries = [dict(image_id=number, segments_info=segments, file_name=f"{number}.png") for number in (1, 2)]
    cfg = write(root, coco(annotations=entries, categories=categories))
    (root / "maps").mkdir()
    for number in (1, 2):
        Image.new("RGB", (96, 64)).save(root / "maps" / f"{number}.png")
    names = dict(classes=NAMES, thing_classes=NAMES[:1], stuff_classes=NAMES[1:])
    prefix = dict(img="images", seg="maps")
    cfg.train_dataloader.dataset.update(type="CocoPanopticDataset", metainfo=names, data_prefix=prefix)
    return cfg


def test_panoptic_segments(tmp_path: Path) -> None:
    cfg = panoptic(tmp_path / "whole")
    assert "train_dataloader.dataset: 4 objects in 2 of 2 images to learn from" in texts(cfg, ("train",), "ok")
    assert not any("no object" in text for text in texts(cfg, ("train",), "doubtful", "wrong"))
    (tmp_path / "whole" / "maps" / "2.png").unlink()
    assert any("1 of its 2 label maps are missing" in text for text in texts(cfg, ("train",), "wrong"))
    told = texts(panoptic(tmp_path / "broken", category_id=9), ("train",), "wrong")
    assert "train_dataloader.dataset: CocoPanopticDataset cannot read its annotations: KeyError: 9" in told


def test_types_that_load_their_lists_like_coco(tmp_path: Path, cfg: Config) -> None:
    cfg.train_dataloader.dataset.type = "CityscapesDataset"
    (tmp_path / "images" / "2.png").unlink()
    assert "names 1 images (of 2) that are not in" in refused(cfg)


def test_label_maps_beside_boxes(tmp_path: Path, cfg: Config) -> None:
    (tmp_path / "maps").mkdir()
    Image.new("L", (96, 64)).save(tmp_path / "maps" / "1.png")
    cfg.train_dataloader.dataset.data_prefix.seg = "maps"
    check_start(cfg, ("train",))
    cfg.train_dataloader.dataset.pipeline[1].with_seg = True
    assert f"that are not in {tmp_path}/maps (train_dataloader.dataset.data_prefix.seg): 2.png" in refused(cfg)


@DATASETS.register_module()
class OfAnotherKind:
    METAINFO = MappingProxyType({})


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (dict(type="OpenImagesDataset", meta_file="meta.pkl"), "meta.pkl is a pickle, and reading one can run code"),
        (dict(type="XMLDataset", data_root="s3://bucket"), "its files are not on this machine"),
        (dict(type="CrowdHumanDataset"), "CrowdHumanDataset opens every image for its list"),
        (dict(type="OfAnotherKind"), "OfAnotherKind is no detection dataset of mmdet"),
    ],
)
def test_what_is_not_counted_is_said(cfg: Config, options: dict[str, Any], reason: str) -> None:
    cfg.train_dataloader.dataset.update(options)
    told = f"train_dataloader.dataset: what it gives to learn from: {reason}"
    assert told in texts(cfg, ("train",), "not checked")


def test_datasets_that_cannot_be_built(tmp_path: Path) -> None:
    """At which a run would stop with a traceback, after checks that could not look at them."""
    cfg = segmenter(tmp_path)
    cfg.model.decode_head.num_classes = 2
    cfg.train_dataloader.dataset.metainfo = dict(classes=NAMES, palette=[[0, 0, 0]])
    cfg.val_dataloader.dataset.metainfo = {}
    told = refused(cfg, "train", "val")
    assert "train_dataloader.dataset: BaseSegDataset cannot be built: ValueError: palette does not match classes" in told
    assert "val_dataloader.dataset: BaseSegDataset cannot be built: AssertionError: dataset metainfo `classes` should" in told
