"""Pure-Python configs, whose types are classes, and their copies in work dirs, where these are dotted paths."""

from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.optim.scheduler import LinearLR
from small_datasets import refusal

from mmvit.checks.plan import Plan
from mmvit.checks.settings import check_settings
from mmvit.compat.texts import read_config
from mmvit.config.files import open_config
from mmvit.demo.recipe import apply
from mmvit.engine.configuration import TestOptions as EvaluationOptions
from mmvit.engine.configuration import TrainOptions, _without, train_config
from mmvit.engine.configuration import test_config as evaluation_config

pytestmark = [pytest.mark.stack, pytest.mark.once]
TEXT = """\
from mmcv.transforms import LoadImageFromFile, Resize, TestTimeAug, TransformBroadcaster
from mmengine.dataset import DefaultSampler
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, LoggerHook
from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler import LinearLR, MultiStepLR
from mmengine.runner import EpochBasedTrainLoop, TestLoop, ValLoop
from mmseg.datasets import ADE20KDataset
from mmseg.datasets.transforms import LoadAnnotations, PackSegInputs
from mmseg.evaluation import IoUMetric
from mmseg.models import EncoderDecoder, FPN, FPNHead, SegDataPreProcessor, SegTTAModel
from torch.optim import AdamW

from mmvit import PVTv2
from mmvit.look.report import PicturesHook

default_scope = "mmseg"
model = dict(
    type=EncoderDecoder,
    data_preprocessor=dict(type=SegDataPreProcessor, mean=[1.0] * 3, std=[1.0] * 3, size=(64, 64)),
    backbone=dict(type=PVTv2, arch="b0", frozen_stages=2),
    decode_head=dict(type=FPNHead, num_classes=150, loss_decode=dict(type="CrossEntropyLoss")),
    test_cfg=dict(mode="whole"),
)
load, pack = dict(type=LoadImageFromFile), dict(type=PackSegInputs)
pipeline = [load, dict(type=Resize, scale=(64, 64)), dict(type=LoadAnnotations), pack]
views = dict(type=TransformBroadcaster, transforms=[dict(type=LoadAnnotations), dict(type=Resize, scale=(32, 32))])
dataset = dict(type=ADE20KDataset, data_root="absent", pipeline=pipeline, data_prefix=dict(img_path="a", seg_map_path="b"))
train_dataloader = dict(batch_size=2, sampler=dict(type=DefaultSampler, shuffle=True), dataset=dataset)
val_dataloader = dict(batch_size=1, sampler=dict(type=DefaultSampler, shuffle=False), dataset=dataset)
test_dataloader = dict(val_dataloader, dataset=dict(dataset, pipeline=[*pipeline, views]))
val_evaluator = test_evaluator = dict(type=IoUMetric, iou_metrics=["mIoU"])
train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=10, val_interval=1)
val_cfg, test_cfg = dict(type=ValLoop), dict(type=TestLoop)
tta_model = dict(type=SegTTAModel)
tta_pipeline = [load, dict(type=TestTimeAug, transforms=[[pack]])]
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=AdamW, lr=1e-3))
param_scheduler = [dict(type=LinearLR, start_factor=0.1, begin=0, end=2), dict(type=MultiStepLR, milestones=[8])]
default_hooks = dict(checkpoint=dict(type=CheckpointHook, save_best="mIoU"), logger=dict(type=LoggerHook))
log_processor = dict(by_epoch=True)
custom_hooks = [dict(type=EarlyStoppingHook, monitor="mIoU", patience=1), dict(type=PicturesHook)]
"""


@pytest.fixture(params=["classes", "paths"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The config, and what mmengine writes of it into the work dir."""
    file, copy = tmp_path / "pure.py", tmp_path / "copy.py"
    file.write_text(TEXT, encoding="utf-8")
    if request.param == "paths":
        open_config(file).dump(copy)
        return copy
    return file


def written(cfg: Config) -> str:
    text = cfg.pretty_text
    assert "<class" not in text
    return text


def trained(source: Path, **options: Any) -> Config:
    cfg = train_config(TrainOptions(source, work_dir=source.parent, **options))
    written(cfg)
    return cfg


def test_options_that_rebuild_parts(source: Path, tmp_path: Path) -> None:
    cfg = trained(source, epochs=20)
    rise, fall = cfg.param_scheduler
    assert rise.type in (LinearLR, "mmengine.optim.scheduler.LinearLR")
    assert fall.milestones == [16]
    (tmp_path / "some.pth").touch()
    for options in (dict(tta=True), dict(no_labels=True, out=tmp_path / "out")):
        tested = evaluation_config(EvaluationOptions(source, tmp_path / "some.pth", work_dir=tmp_path, **options))
        assert "LoadAnnotations" not in written(Config(dict(data=tested.test_dataloader)))
        written(tested)


def test_options_that_look_for_a_type(source: Path) -> None:
    hooks = trained(source, patience=7).custom_hooks
    assert [hook.patience for hook in hooks if "EarlyStopping" in str(hook.type)] == [7]
    assert sum("PicturesHook" in str(hook.type) for hook in hooks) == 1, "ours, which every training has"
    others = [dict(type="theirs.PicturesHook"), dict(type="mmvit.look.report.PicturesHook")]
    assert _without(others, "mmvit.PicturesHook") == others[:1]
    assert trained(source, amp="bfloat16").optim_wrapper.type == "mmvit.BFloat16OptimWrapper"
    assert trained(source, freeze=1).model.backbone.frozen_stages == 1


def test_frozen_random_weights_are_wrong(source: Path) -> None:
    findings = check_settings(Plan(open_config(source), ("train", "val")))
    assert [finding.verdict for finding in findings if "frozen_stages is 2" in finding.text] == ["wrong"]


def test_the_demo(source: Path, tmp_path: Path) -> None:
    cfg = open_config(source)
    apply(cfg, tmp_path)
    written(cfg)


def test_a_checkpoint_is_read_by_scopes_and_names(tmp_path: Path) -> None:
    (tmp_path / "pure.py").write_text(TEXT, encoding="utf-8")
    text = written(open_config(tmp_path / "pure.py"))
    cfg = read_config(text, "x.pth")
    assert (cfg.model.type, cfg.model.backbone.type) == ("mmseg.EncoderDecoder", "mmvit.PVTv2")
    assert [step.type for step in cfg.test_dataloader.dataset.pipeline][::2] == [
        "mmcv.LoadImageFromFile",
        "mmseg.LoadAnnotations",
        "mmcv.TransformBroadcaster",
    ]
    nms = read_config(text.replace("mmseg.models.FPNHead", "mmcv.ops.nms"), "x.pth").model.decode_head
    assert nms.type == "nms", "a function, which mmcv knows without a scope"
    for path in ("mmengine.dist.utils.subprocess.run", "theirs.models.FPNHead"):
        told = refusal(read_config, text.replace("mmseg.models.FPNHead", path), "x.pth")
        assert f"model.decode_head.type is '{path}'" in told
    popen = read_config(text.replace("mmseg.models.FPNHead", "mmengine.dist.utils.subprocess.Popen"), "x.pth")
    assert popen.model.decode_head.type == "mmengine.Popen", "which no registry has"
