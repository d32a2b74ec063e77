"""`tools/benchmark.py --whole`: both sides train and evaluate on the same data in turns, and their times add up."""

import re
import time
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope

from benchmarks import cli, records, whole
from benchmarks.turns import REST, Times
from benchmarks.whole_data import FILES, our_config, stock_config, write_data
from mmvit.errors import InputError

pytestmark = [pytest.mark.stack, pytest.mark.once]


@pytest.mark.slow
def test_both_sides_train_and_evaluate(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["retinanet_pvt_tiny_coco", "--whole", "--against", "stock", "--size", "64x96", "--repeats", "1", "--block", "1"]
    words += ["--options", "+amp=bfloat16", "+cfg-options", "log_level='WARNING'"]  # evaluation has no --amp
    file = tmp_path / "whole.json"
    assert cli.benchmark([*words, "--workers", "0", "--images", "20", "--json", str(file)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for what in ("training", "evaluation"):
        assert f"| {what} | mmvit |" in told
        assert f"| {what} | stock |" in told
    assert "stock: PyramidVisionTransformer of mmdet" in told
    (run,) = records.read(tmp_path)
    assert [(row.what, row.candidate) for row in run.rows] == [
        (what, side) for what in ("training", "evaluation") for side in ("mmvit", "mmdet")
    ]
    assert all(row.ms and row.memory_mib and bool(row.ratio) == (row.candidate != "mmvit") for row in run.rows)
    training, evaluation = told.split("by part, evaluation:")
    for part in ("backbone and neck, forward", REST):
        assert f"| {part} |" in training
        assert f"| {part} |" in evaluation
    for part in ("backward", "optimiser"):
        assert f"| {part} |" in training
        assert f"| {part} |" not in evaluation
    for part in ("hook FiniteLossHook", "exact loop: random streams", "exact loop: signals"):
        (row,) = re.findall(rf"\| {part} \|([^|]*)\|[^|]*\|([^|]*)\|", training)
        assert row[0].strip(), f"{part}: ours has it"
        assert not row[1].strip(), f"{part}: mmdet's script has none"


def test_a_side_that_fails_is_told(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import sys; sys.exit('no such option: ' + sys.argv[1])")
    with pytest.raises(InputError, match=r"train_stock ended by itself:\n[\s\S]*no such option: --some"):
        whole.Run([str(tmp_path / "script.py"), "--some"], tmp_path, "train_stock")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a", "b", "--against", "stock"], "expected one config and one size"),
        (["retinanet_pvt_tiny_coco", "--against", "timm"], "expected stock or none"),
        (["fpn_pvt_small_cityscapes", "--against", "stock"], "expected a config of CocoDataset or ADE20KDataset"),
    ],
)
def test_what_it_does_not_measure(words: list[str], told: str, capsys: pytest.CaptureFixture) -> None:
    assert cli.benchmark(["--whole", *words]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        ("retinanet_pvt_v2_b2_coco", "PyramidVisionTransformerV2"),
        ("mask_rcnn_pvt_tiny_coco", "PyramidVisionTransformer"),
        ("segformer_pvt_v2_b2_ade20k", "MixVisionTransformer"),
        ("fpn_van_b0_ade20k", "mmvit.VAN"),
    ],
)
def test_stock_configs_build_and_have_nothing_of_ours_but_a_backbone(name: str, backbone: str, tmp_path: Path) -> None:
    cfg = our_config(name, tmp_path, 64, 96, batch=1, workers=0)
    stock, remark = stock_config(cfg, name)
    assert stock.model.backbone.type == backbone
    stock.model.backbone.type = ""
    assert "mmvit." not in str(stock.to_dict())
    assert cfg.train_cfg.type.startswith("mmvit."), "ours is left as it is"
    assert ("our backbone" in remark) == backbone.startswith("mmvit.")
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build({**stock.model, "backbone": {**stock.model.backbone, "type": backbone}})
    assert model.backbone is not None


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole") / "data"
    for kind in ("CocoDataset", "ADE20KDataset"):
        write_data(root, 64, 96, 3 * FILES - 1, kind)
    return root


@pytest.mark.parametrize("name", ["mask_rcnn_pvt_tiny_coco", "fpn_pvt_small_ade20k"])
def test_data_are_as_many_and_as_large_as_asked_for(name: str, data: Path) -> None:
    cfg: Config = our_config(name, data, 64, 96, batch=1, workers=0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        assert len(dataset) == 3 * FILES - 1
        sample = dataset[FILES]
    assert sample["inputs"].shape == (3, 64, 96)
    samples = sample["data_samples"]
    assert len(samples.gt_instances) if "bbox_head" in str(cfg.model) else samples.gt_sem_seg.data.unique().numel() > 1


def test_parts_are_exclusive_and_add_up() -> None:
    times = Times()
    began = time.perf_counter()
    with times.part("outer"):
        time.sleep(0.02)
        with times.part("inner"):
            time.sleep(0.04)
        time.sleep(0.02)
    time.sleep(0.03)
    taken = times.taken()
    passed = time.perf_counter() - began
    assert set(taken) == {"outer", "inner", REST}
    assert taken["outer"] >= 0.04
    assert taken["inner"] >= 0.04
    assert taken[REST] >= 0.03
    assert sum(taken.values()) == pytest.approx(passed, abs=0.02)
    time.sleep(0.05)
    times.forget()
    assert sum(times.taken().values()) < 0.05


@pytest.mark.parametrize(
    ("words", "evaluation"),
    [
        (["--amp=bfloat16"], []),
        (["--compile", "--amp", "bfloat16"], ["--compile"]),
        (["--cfg-options", "a=1", "b=2", "--tensorboard"], ["--cfg-options", "a=1", "b=2"]),
    ],
)
def test_each_script_gets_the_options_that_it_takes(words: list[str], evaluation: list[str]) -> None:
    assert whole.options_for("train", words) == words
    assert whole.options_for("test", words) == evaluation
