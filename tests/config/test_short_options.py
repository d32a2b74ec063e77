"""Short options of a training change every entry of a config that belongs to them, in our configs and in the toolkits' own."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mmdet
import mmseg
import pytest
import torch
from makers import FEW, write_coco
from mmengine.config import Config
from mmengine.registry import HOOKS
from small_datasets import refusal, segmenter

from mmvit.checks.settings import schedule_faults
from mmvit.config.files import open_config
from mmvit.config.roots import set_data_root
from mmvit.config.short_options import ShortOptions, apply_short
from mmvit.engine.configuration import TestOptions as EvaluationOptions
from mmvit.engine.configuration import TrainOptions, train_config
from mmvit.engine.configuration import test_config as evaluation_config
from mmvit.engine.start import Start

pytestmark = [pytest.mark.stack, pytest.mark.once]
STOCK = {
    "rtmdet": (mmdet, "rtmdet/rtmdet_s_8xb32-300e_coco.py"),
    "yolox": (mmdet, "yolox/yolox_s_8xb8-300e_coco.py"),
    "detr": (mmdet, "detr/detr_r50_8xb2-150e_coco.py"),
    "ssd": (mmdet, "ssd/ssd300_coco.py"),
    "mask2former": (mmdet, "mask2former/mask2former_r50_8xb2-lsj-50e_coco.py"),
    "their pvt": (mmdet, "pvt/retinanet_pvt-t_fpn_1x_coco.py"),
    "soft teacher": (mmdet, "soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py"),
    "pspnet": (mmseg, "pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py"),
    "vit": (mmseg, "vit/vit_vit-b16_mln_upernet_8xb2-80k_ade20k-512x512.py"),
}


def stock(name: str) -> Config:
    package, file = STOCK[name]
    return open_config(Path(package.__file__).parent / ".mim" / "configs" / file)


def changed(cfg: Config, **options: Any) -> Config:
    (line,) = apply_short(cfg, ShortOptions(**options))
    (name, value) = next(iter(options.items()))
    assert line.startswith(f"--{name.replace('_', '-')} {value}: ")
    assert "\n" not in line
    return cfg


def refused(cfg: Config, **options: Any) -> str:
    return refusal(apply_short, cfg, ShortOptions(**options))


def values_of(part: Any, name: str) -> Iterator[Any]:
    if isinstance(part, Mapping):
        part, found = part.values(), part.get(name)
        if found is not None:
            yield found
    for entry in part if isinstance(part, list | tuple | type({}.values())) else ():
        yield from values_of(entry, name)


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data of 28 images where our configs for COCO and ADE20K expect them."""
    monkeypatch.chdir(tmp_path)
    write_coco(Path("data/coco"), images=28)
    images = Path("data/ade/ADEChallengeData2016/images/training")  # counted, not opened
    images.mkdir(parents=True)
    for number in range(28):
        (images / f"{number}.jpg").touch()


def test_epochs_of_a_training_that_counts_epochs(counted: None) -> None:
    cfg = changed(open_config("retinanet_pvt_tiny_coco"), epochs=30)
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (30, 1)
    warm_up, steps = cfg.param_scheduler
    assert warm_up["end"] == 30 * 14 // 10, "a tenth of 30 epochs of 14 iterations, instead of 500"
    assert (steps["milestones"], steps["end"]) == ([20, 28], 30)
    assert cfg.default_hooks.logger.interval == 7
    assert not list(schedule_faults(cfg, per_epoch=14))


def test_late_points_stay_before_the_end() -> None:
    """Rounded onto it, a second pipeline never comes, and a rate never falls."""
    hook = dict(type="PipelineSwitchHook", switch_epoch=280)
    steps = dict(type="MultiStepLR", milestones=[240, 297], gamma=0.1, begin=0, end=300)
    loop = dict(max_epochs=300, val_interval=10, dynamic_intervals=[(285, 1)])
    parts = dict(train_cfg=loop, custom_hooks=[hook], param_scheduler=[steps], default_hooks={}, train_dataloader={})
    for epochs, milestones, switch in ((6, [5, 5], 5), (20, [16, 19], 19), (2, [1, 1], 1), (1, [1, 1], 1)):
        cfg = changed(Config(parts), epochs=epochs)
        assert cfg.param_scheduler[0]["milestones"] == milestones
        assert (cfg.param_scheduler[0]["end"], cfg.custom_hooks[0].switch_epoch) == (epochs, switch)
        assert cfg.train_cfg.dynamic_intervals[0][0] == switch
    tail = [dict(type="CosineAnnealingLR", begin=0, end=285, T_max=285), dict(type="ConstantLR", begin=285, end=300)]
    cosine, constant = changed(Config(dict(parts, param_scheduler=tail)), epochs=6).param_scheduler
    assert (cosine["end"], constant["begin"], constant["end"]) == (5, 5, 6)


def test_an_epoch_of_few_batches() -> None:
    cfg = open_config("retinanet_pvt_tiny_coco")
    cfg.train_dataloader.num_batch_per_epoch = 3
    cfg.param_scheduler = [dict(type="CosineAnnealingLR", T_max=36, end=36, by_epoch=False)]
    (cosine,) = changed(cfg, epochs=4).param_scheduler
    assert (cosine["T_max"], cosine["end"]) == (12, 12)


def test_a_rise_that_stays_below_the_rate_is_no_warm_up(counted: None) -> None:
    cfg = open_config("fpn_van_b0_ade20k")
    cfg.param_scheduler = [dict(type="LinearLR", start_factor=0.5, end_factor=0.8, by_epoch=False, begin=0, end=40000)]
    (rise,) = changed(cfg, epochs=2).param_scheduler
    assert rise["end"] == cfg.train_cfg.max_iters == 14


def test_one_epoch_has_no_steps_left_for_a_warm_up(counted: None) -> None:
    cfg = changed(open_config("retinanet_pvt_tiny_coco"), epochs=1)
    (steps,) = cfg.param_scheduler
    assert steps["type"] == "MultiStepLR"
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == 1


def test_a_test_at_other_sizes_than_the_training_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The options of a training are not in the project's config, with which one tests; they are in the checkpoint's."""
    cfg, said = open_config("fpn_pvt_v2_b2_binary"), []
    torch.save(dict(meta=dict(cfg=changed(cfg, image_size=64).pretty_text), state_dict={}), tmp_path / "iter_9.pth")
    monkeypatch.setattr("mmvit.checks.table.require", lambda findings, _: said.extend(findings))
    start = Start(str(tmp_path / "iter_9.pth"))
    start.compare_sizes(cfg)
    assert not said
    (tmp_path / Path(cfg.filename).name).touch()
    start.compare_sizes(open_config("fpn_pvt_v2_b2_binary"))
    assert "it was trained with Resize.scale [64, 64], here [352, 352]" in str(said)
    assert "fpn_pvt_v2_b2_binary.py has the training's" in str(said)


def test_epochs_of_a_training_that_counts_iterations(counted: None) -> None:
    cfg = open_config("upernet_van_b0_ade20k")
    apply_short(cfg, ShortOptions(epochs=50, batch_size=4))
    assert cfg.train_cfg.max_iters == 50 * 7, "28 images, four at a time: batch size comes first"
    warm_up, decay = cfg.param_scheduler
    assert (warm_up["end"], decay["begin"], decay["end"]) == (35, 35, 350)
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == 35
    assert cfg.default_hooks.logger.interval == 17
    assert cfg.auto_scale_lr.base_batch_size == open_config("upernet_van_b0_ade20k").auto_scale_lr.base_batch_size
    assert not list(schedule_faults(cfg))


@pytest.mark.parametrize(("processes", "batch", "steps"), [(4, 1, 7), (3, 2, 5)])
def test_epochs_of_several_processes(counted: None, monkeypatch: Any, processes: int, batch: int, steps: int) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(processes))  # each has at most a tenth image, which another has, too
    options: Any = dict(launcher="pytorch", cfg_options={"train_dataloader.drop_last": True})
    cfg = train_config(TrainOptions("fpn_van_b0_ade20k", epochs=10, batch_size=batch, **options))
    assert cfg.train_cfg.max_iters == 10 * steps
    assert any(one.startswith(f"--epochs 10: train_cfg.max_iters 40000 -> {steps}0 ({steps} an epoch)") for one in cfg.changed)


def test_epochs_of_stock_configs() -> None:
    """Iteration counts of epoch-based configs need the data, which the checks of a run report; all else is stretched."""
    cfg = changed(stock("rtmdet"), epochs=60)
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.dynamic_intervals) == (60, [(56, 1)])
    cosine = cfg.param_scheduler[1]
    assert (cosine["begin"], cosine["end"], cosine["T_max"]) == (30, 60, 30)
    assert next(values_of(cfg.custom_hooks, "switch_epoch")) == 56
    cfg = changed(stock("yolox"), epochs=60)
    warm_up, cosine, constant = cfg.param_scheduler
    assert (warm_up["end"], cosine["begin"], cosine["end"], constant["begin"], constant["end"]) == (5, 5, 57, 57, 60)
    assert cfg.param_scheduler[1]["T_max"] == 53
    assert "cannot be counted" in refused(stock("pspnet"), epochs=5)


def test_a_loop_of_another_kind() -> None:
    cfg = open_config("retinanet_pvt_tiny_coco")
    cfg.train_cfg = dict(type="OtherLoop")
    assert refused(cfg, epochs=3).startswith("--epochs: ")


@pytest.mark.parametrize("leaf", FEW, ids=lambda leaf: leaf.name)
def test_image_size_of_each_head(leaf: Any) -> None:
    before, cfg = open_config(leaf.name), changed(open_config(leaf.name), image_size=256)
    size = before.model.data_preprocessor.get("size")
    factor = 256 / (min(size) if size else 800)
    for name in ("train_dataloader", "val_dataloader", "test_dataloader", "tta_pipeline"):
        for key in ("scale", "crop_size"):
            old, new = list(values_of(before[name], key)), list(values_of(cfg[name], key))
            assert [tuple(round(side * factor) for side in entry) for entry in old] == [tuple(entry) for entry in new], name
    if size:
        assert min(cfg.model.data_preprocessor.size) == 256
        assert cfg.model.data_preprocessor.size == next(values_of(cfg.train_dataloader, "crop_size"))
    if before.model.get("test_cfg", {}).get("mode") == "slide":
        assert min(cfg.model.test_cfg.crop_size) == 256


def test_image_size_of_stock_configs() -> None:
    cfg = changed(stock("rtmdet"), image_size=320)
    assert set(values_of(cfg.train_dataloader, "img_scale")) == {(320, 320)}
    assert set(values_of(cfg.custom_hooks, "crop_size")) == {(320, 320)}, "the pipeline of the last epochs"
    assert set(values_of(cfg.model, "random_size_range")) == set()
    cfg = changed(stock("yolox"), image_size=320)
    assert list(values_of(cfg.model, "random_size_range")) == [(256, 384)]
    assert list(values_of(cfg.train_dataloader, "border")) == [(-160, -160)]
    cfg = changed(stock("detr"), image_size=400)
    assert next(values_of(cfg.val_dataloader, "scale")) == (666, 400)
    assert max(next(values_of(cfg.train_dataloader, "scales"))) == (400, 666)
    cfg = changed(stock("vit"), image_size=256)
    assert cfg.model.backbone.img_size == cfg.model.data_preprocessor.size == (256, 256)
    assert "input_size" in refused(stock("ssd"), image_size=512)


def test_rate_moves_what_is_measured_against_it() -> None:
    cfg = changed(stock("rtmdet"), lr=1e-3)
    assert cfg.optim_wrapper.optimizer.lr == 1e-3
    assert cfg.param_scheduler[1].eta_min == pytest.approx(5e-5), "the twentieth part, as before"
    cfg.optim_wrapper = dict(constructor="OptimWrapperDict")
    assert "--lr: " in refused(cfg, lr=1e-3)


def test_frozen_stages() -> None:
    assert changed(open_config("retinanet_pvt_tiny_coco"), freeze=2).model.backbone.frozen_stages == 2
    assert changed(open_config("retinanet_pvt_tiny_coco"), freeze=0).model.backbone.frozen_stages == 0
    assert changed(stock("detr"), freeze=0).model.backbone.frozen_stages == -1, "0 freezes the stem of mmdet's ResNet"
    assert changed(stock("soft teacher"), freeze=3).model.detector.backbone.frozen_stages == 3
    assert "PyramidVisionTransformer (model.backbone) has no frozen_stages" in refused(stock("their pvt"), freeze=1)
    assert "expected 0 to 4" in refused(stock("detr"), freeze=5)


def test_patience() -> None:
    cfg = changed(open_config("fpn_van_b0_ade20k"), patience=7)
    (hook,) = [hook for hook in cfg.custom_hooks if hook["type"] == "EarlyStoppingHook"]
    assert (hook["monitor"], hook["patience"]) == ("mIoU", 7)
    stopping = HOOKS.build(hook)
    scores = (0.1, 0.11, 0.11, 0.12, *[0.12] * 6, 0.119)  # gains below mmengine's default of 0.1; then equal, then worse
    assert [stopping._check_stop_condition(score)[0] for score in scores] == [False] * 10 + [True]
    (hook,) = [hook for hook in changed(cfg, patience=3).custom_hooks if hook["type"] == "EarlyStoppingHook"]
    assert hook["patience"] == 3
    assert "save_best=coco/bbox_mAP" in refused(stock("rtmdet"), patience=3)
    several = dict(save_best=["loss", "mIoU"], rule=["less", "greater"])
    cfg.default_hooks.checkpoint.update(several)
    (hook,) = [hook for hook in changed(cfg, patience=3).custom_hooks if hook["type"] == "EarlyStoppingHook"]
    assert (hook["monitor"], hook["rule"]) == ("loss", "less"), "of several, the first"
    assert HOOKS.build(hook).rule == "less"
    cfg.default_hooks.checkpoint = dict(save_best="miss", less_keys=["miss"])
    assert changed(cfg, patience=3).custom_hooks[-1]["rule"] == "less", "as the best checkpoint's"
    cfg.val_dataloader = None
    assert "no validation" in refused(cfg, patience=3)


def test_batches_that_a_sampler_makes() -> None:
    assert "sampler makes the batches" in refused(stock("soft teacher"), batch_size=4)


@pytest.mark.parametrize(
    "options", [dict(epochs=0), dict(lr=0.0), dict(batch_size=2.5), dict(image_size=8), dict(lr=float("nan"))]
)
def test_values_out_of_range(options: dict[str, Any]) -> None:
    assert "expected a" in refused(open_config("retinanet_pvt_tiny_coco"), **options)


@pytest.mark.parametrize("leaf", FEW, ids=lambda leaf: leaf.name)
def test_another_copy_of_the_data(leaf: Any, tmp_path: Path) -> None:
    cfg = open_config(leaf.name)
    old = cfg.train_dataloader.dataset.data_root.rstrip("/")
    cfg.train_dataloader.dataset = dict(type="RepeatDataset", times=2, dataset=cfg.train_dataloader.dataset)
    cfg.val_dataloader.dataset = dict(type="ConcatDataset", datasets=[cfg.val_dataloader.dataset])
    set_data_root(cfg, tmp_path)
    for name in ("train_dataloader", "val_dataloader"):
        assert set(values_of(cfg[name], "data_root")) == {str(tmp_path)}
    files = list(values_of([cfg.val_evaluator, cfg.test_evaluator], "ann_file"))
    assert files == [f"{tmp_path}/annotations/instances_val2017.json"] * 2 * ("coco" in leaf.name)
    assert old not in str(cfg.test_dataloader)


def test_absolute_paths_move_with_the_root(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    dataset = (cfg := segmenter(tmp_path / "maps")).train_dataloader.dataset
    dataset.data_prefix.img_path, dataset.extra_ann_file = (str(tmp_path / "maps" / name) for name in ("images", "sizes.json"))
    dataset.ann_file = str(tmp_path / "list.txt")
    set_data_root(cfg, tmp_path / "copy")
    assert dataset.data_prefix.img_path == str(tmp_path / "copy" / "images")
    assert dataset.extra_ann_file == str(tmp_path / "copy" / "sizes.json"), "CrowdHuman's"
    assert dataset.ann_file == str(tmp_path / "list.txt"), "beside the data, it stays"


def test_roots_that_cannot_be_set(tmp_path: Path) -> None:
    cfg = open_config("retinanet_pvt_tiny_coco")
    assert "no such folder" in refusal(set_data_root, cfg, tmp_path / "absent")
    cfg.val_dataloader.dataset.data_root = "elsewhere"
    assert "its datasets have 2: data/coco, elsewhere" in refusal(set_data_root, cfg, tmp_path)
    cfg.val_dataloader.dataset.data_root = None
    assert "has no data_root" in refusal(set_data_root, cfg, tmp_path)


def test_both_commands_take_another_copy(tmp_path: Path) -> None:
    checkpoint = tmp_path / "some.pth"
    checkpoint.touch()
    trained = train_config(TrainOptions("retinanet_pvt_tiny_coco", data_root=tmp_path))
    tested = evaluation_config(EvaluationOptions("retinanet_pvt_tiny_coco", checkpoint, data_root=tmp_path))
    assert trained.train_dataloader.dataset.data_root == tested.test_dataloader.dataset.data_root == str(tmp_path)
    assert tested.changed == trained.changed != []
