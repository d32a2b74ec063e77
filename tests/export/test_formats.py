"""Other formats, raw masks, one size; and what cannot be exported is named, and never written."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from exports import Export
from makers import needs_heads
from mmcv.transforms import Resize
from mmengine.config import Config
from mmengine.registry import DefaultScope
from tiny import write_model

import mmvit
from mmvit.commands import export, inspect
from mmvit.config.files import open_config
from mmvit.config.parts import build
from mmvit.data.images import LoadImage
from mmvit.errors import InputError
from mmvit.export import formats
from mmvit.export.models import from_config, program_of, scale_rule
from mmvit.export.preprocessing import Preprocessing
from mmvit.export.verify import pictures, require_nothing, trained
from mmvit.predict.results import Detections
from mmvit.predict.sessions import metadata_of, open_session

pytestmark = [pytest.mark.stack, needs_heads]


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "to", "file"),
    [
        ("retinanet-PVTv2", "pt2", "model.pt2"),
        ("mask_rcnn-VAN", "openvino", "model.xml"),
        ("retinanet-PVTv2", "openvino", "model.xml"),
    ],
)
def test_other_formats_give_the_same(exporting: Export, photographs: Path, name: str, to: str, file: str) -> None:
    exported = exporting(name, file, "--to", to)
    exported.require_same(photographs)
    assert inspect.main([str(exported.file)]) == 0


@pytest.mark.once
@pytest.mark.slow
def test_only_the_best_scores_are_sorted_by_openvino(exporting: Export) -> None:
    """Its stable sort takes seconds for all scores of a level: to find the best, order does not matter."""
    exported = exporting("retinanet-PVTv2", "model.xml", "--to", "openvino")
    layers = ElementTree.parse(exported.file).iter("layer")
    kinds = [(layer[0].get("sort"), layer[0].get("stable")) for layer in layers if layer.get("type") == "TopK"]
    assert sorted(kinds) == 5 * [("none", "false")] + 5 * [("value", "true")]


@pytest.mark.once
@pytest.mark.slow
def test_raw_masks_are_pasted_by_the_runner(exporting: Export, photographs: Path) -> None:
    exported = exporting("mask_rcnn-VAN", "raw.pt2", "--to", "pt2", "--raw-masks")
    run, metadata, _ = open_session(exported.file)
    assert metadata["raw_masks"] is True
    assert metadata["inputs"] == ["image", "score_threshold"]
    *_, masks = run(dict(image=np.full((1, 160, 240, 3), 99, np.uint8), score_threshold=np.array(0.0, np.float32)))
    assert masks.shape[1:] == (28, 28)
    assert len(masks) > 5
    exported.require_same(photographs)


@pytest.mark.parametrize(("head", "option"), [("retinanet", "--raw-masks"), ("fpn", "--raw-masks"), ("fpn", "--score 0.4")])
def test_options_for_what_a_model_does_not_give_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture, head: str, option: str
) -> None:
    config, checkpoint = write_model(tmp_path, head)
    for words in ([str(config), str(checkpoint)], ["pvt_v2_b0"]):
        assert export.main([*words, *option.split(), "--out", str(tmp_path / "model.onnx")]) == 2
        told = capsys.readouterr().err
        assert (option.split()[0] in told, "leave it out" in told) == (True, True)


@pytest.mark.once
@pytest.mark.slow
def test_a_backbone_takes_any_number_of_images(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "maps.pt2"
    assert export.main(["pvt_v2_b2_li", "--to", "pt2", "--out", str(out)]) == 0
    assert "3 at once" in capsys.readouterr().out
    assert open_session(out).metadata["batch"] is None


def test_a_model_that_differs_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    config, checkpoint = write_model(tmp_path)
    monkeypatch.setattr("mmvit.export.preprocessing.Preprocessing.forward", lambda _, image: image.permute(0, 3, 1, 2) / 255.0)
    out = tmp_path / "out"
    out.mkdir()
    words = [str(config), str(checkpoint), "--size", "64x96", "--to", "pt2", "--out", str(out / "model.pt2")]
    assert export.main(words) == 2
    assert "Nothing was written" in capsys.readouterr().err
    assert list(out.iterdir()) == []


PAA = dict(type="PAAHead", feat_channels=32, anchor_generator=dict(ratios=[1.0], scales_per_octave=1))


@pytest.mark.parametrize(
    ("head", "changes", "words"),
    [
        ("fpn", dict(test_cfg=dict(mode="slide", crop_size=(64, 64), stride=(32, 32))), "slide"),
        ("retinanet", dict(test_cfg=dict(nms=dict(type="soft_nms"))), r"test_cfg\.nms has type='soft_nms'"),
        ("atss", dict(test_cfg=dict(nms=dict(max_num=7))), r"test_cfg\.nms has max_num=7, .* expected max_num=-1"),
        ("mask_rcnn", dict(test_cfg=dict(rpn=dict(nms_pre=-1))), r"test_cfg\.rpn\.nms_pre is -1"),
        ("mask_rcnn", dict(test_cfg=dict(rcnn=dict(max_per_img=-1))), r"test_cfg\.rcnn\.max_per_img is -1"),
        ("gfl", dict(test_cfg=dict(min_bbox_size=2)), "min_bbox_size is 2"),
        ("retinanet", dict(bbox_head=PAA), "PAAHead"),
    ],
)
def test_what_cannot_be_exported_is_named(tmp_path: Path, head: str, changes: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        from_config(*write_model(tmp_path, head, **changes))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mmvit::mask2former_instance_pvt_small_coco.py", "Mask2Former with Mask2FormerHead, MaskFormerFusionHead"),
        # A Mask R-CNN beside another head, whose results the file would not have.
        (
            "mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py",
            "PanopticFPN with RPNHead, StandardRoIHead, PanopticFPNHead, HeuristicFusionHead",
        ),
        ("mmdet::fast_rcnn/fast-rcnn_r50_fpn_1x_coco.py", "FastRCNN with StandardRoIHead"),  # without an rpn_head
    ],
)
def test_a_refusal_names_all_heads(name: str, words: str) -> None:
    cfg = open_config(name) if name.startswith("mmvit::") else Config.fromfile(Config._get_cfg_path(name, "")[0])
    with DefaultScope.overwrite_default_scope("mmdet"), pytest.raises(InputError, match=f"{words} cannot be exported"):
        program_of(build(cfg.model), Preprocessing(dict(cfg.model.data_preprocessor)), "CONFIG")


def test_a_model_without_a_threshold_is_compared_at_that_of_the_file(tmp_path: Path) -> None:
    settings = dict(_delete_=True, nms_pre=100, min_bbox_size=0, nms=dict(type="nms", iou_threshold=0.5), max_per_img=100)
    config, checkpoint = write_model(tmp_path, "retinanet", "PVTv2", test_cfg=settings)
    exportable = from_config(config, checkpoint, score=0.5)
    (image,) = pictures([(64, 96)])
    with torch.no_grad():
        every = trained(exportable, image, 0.0)[1]
        middle = float(np.median(every))
        sure = trained(exportable, image, middle)[1]
    assert 0 < len(sure) < len(every)
    assert sure.tolist() == every[every > middle].tolist()
    assert exportable.model.test_cfg.get("score_thr", 0.0) == 0


@pytest.mark.parametrize("score", [1.01, -0.1, float("nan")])
def test_a_score_that_is_none_is_refused(score: float) -> None:
    with pytest.raises(InputError, match=f"score {score}: expected a number from 0 to 1"):
        from_config("none.py", "none.pth", score)


def test_a_step_of_the_pipeline_that_the_runner_does_not_follow_is_named(tmp_path: Path) -> None:
    config, checkpoint = write_model(tmp_path)
    cfg = Config.fromfile(config)
    cfg.test_dataloader.dataset.pipeline.insert(2, dict(type="RandomFlip", prob=1.0))
    cfg.dump(config)
    with pytest.raises(InputError, match="RandomFlip"):
        from_config(config, checkpoint)


@pytest.mark.parametrize(
    ("read", "resize", "words"),
    [
        (dict(to_float32=True), {}, "LoadImage of the test pipeline has to_float32=True"),
        (dict(imdecode_backend="tifffile"), {}, "LoadImage of the test pipeline has imdecode_backend='tifffile'"),
        (dict(color_type="unchanged"), {}, "LoadImage of the test pipeline has color_type='unchanged'"),
        ({}, dict(backend="pillow"), "Resize of the test pipeline has backend='pillow'"),
        ({}, dict(interpolation="nearest"), "Resize of the test pipeline has interpolation='nearest'"),
    ],
)
def test_an_option_that_the_runner_does_not_follow_is_named(read: dict, resize: dict, words: str) -> None:
    steps = [Resize(scale=(90, 70), **resize)]
    loaded: Any = SimpleNamespace(read=LoadImage(**read), prepare=SimpleNamespace(transforms=steps))
    with pytest.raises(InputError, match=f"CONFIG: {words}, which the runner does not follow"):
        scale_rule(loaded, "CONFIG")


@pytest.mark.parametrize(
    "name", ["retinanet-PVTv2", "atss-T2TViT", "gfl-VOLO", "fpn-PVT", "upernet-T2TViT", "segformer-ShuntedTransformer"]
)
def test_a_fixed_size_takes_no_other(name: str, exporting: Export, photographs: Path) -> None:
    """Traced without symbols, in a tenth of the time: of every head, the model's results."""
    exported = exporting(name, "fixed.pt2", "--to", "pt2", "--size", "200x289")
    (found,) = exported.require_same(photographs / "1.png")
    if isinstance(found, Detections):
        for score, count in ((float(found.scores[:2].mean()), 1), (0.9999, 0)):
            (few,) = mmvit.Predictor(None, exported.file, score=score)(photographs / "1.png")
            assert len(few.scores) == count
    with pytest.raises(InputError, match="200 x 289 only"):
        list(mmvit.Predictor(None, exported.file)(np.zeros((100, 100, 3), np.uint8), channels="bgr"))


def test_a_program_that_takes_objects_for_granted_is_refused() -> None:
    """torchvision's form of NMS for traces promises two boxes, which a program of torch.export then asserts."""
    stub: Any = SimpleNamespace(metadata=dict(inputs=["image", "score_threshold"]))
    image = torch.zeros(1, 8, 9, 3, dtype=torch.uint8)

    def asserting(feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        raise RuntimeError("Runtime assertion failed for expression u6 >= 2")

    with pytest.raises(InputError, match="8x9: a picture without an object ends in RuntimeError: Runtime assertion"):
        require_nothing(stub, asserting, image)
    with pytest.raises(InputError, match="1 detections have a score above 1"):
        require_nothing(stub, lambda feed: [np.zeros((1, 4))], image)
    require_nothing(stub, lambda feed: [np.zeros((0, 4))], image)


def test_an_error_without_words_is_named_by_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a bare assertion inside of torch's exporter."""
    stub: Any = SimpleNamespace(kind="detector", model=None, program=None)

    def asserting(*arguments: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(formats, "exported", asserting)
    with pytest.raises(InputError, match=r"NoneType cannot be exported, .*: AssertionError\. Nothing was written"):
        formats.trace(stub, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no JSON"),
        ("[]", "the kind None. Expected detector, segmenter, backbone"),
        ('{"kind": "segmenter", "inputs": [], "size": null, "batch": 1, "scale": null}', "lack classes, palette; export"),
    ],
)
def test_metadata_that_lack_something_are_named(text: str, words: str) -> None:
    with pytest.raises(InputError, match=f"model.onnx: its metadata of mmvit .*{words}"):
        metadata_of(Path("model.onnx"), text)
