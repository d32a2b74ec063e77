"""Trainings as `tools/train.py` starts them: what is said when an optimiser cannot go on, and when a run dies early."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jobs import write_jobs
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

import mmvit
from mmvit.config.work_dirs import read_scalars
from mmvit.engine.api import _made
from mmvit.engine.configuration import TrainOptions, train_config
from mmvit.engine.launch import FIRST_STEPS, OFFER, train
from mmvit.errors import InputError

pytestmark = pytest.mark.stack

PLAIN = {"optim_wrapper.constructor": "DefaultOptimWrapperConstructor", "optim_wrapper.paramwise_cfg": None}
SHORT = {"train_cfg.max_iters": 2, "train_cfg.val_interval": 100, "default_hooks.checkpoint.save_best": None}


@HOOKS.register_module()
class DyingHook(Hook):
    """Dies as iteration number `at` of a run begins."""

    def __init__(self, at: int) -> None:
        self.at = at

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if batch_idx + 1 == self.at:
            raise RuntimeError("out of luck")


def begin(work_dir: str, changes: dict[str, Any], resume: str | None = None) -> None:
    """A training of two iterations with the detector of this folder."""
    train(TrainOptions(Path("detector.py"), Path(work_dir), resume, cfg_options={**SHORT, **changes}))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config and two iterations of a training with it, each layer at a rate of its own."""
    folder = tmp_path_factory.mktemp("launch")
    write_jobs(folder, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        begin("layers", {})
        begin("plain", PLAIN)
    return folder


@pytest.fixture
def there(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(trained)
    return trained


SGD = dict(_delete_=True, type="SGD", lr=0.01, momentum=0.9, weight_decay=1e-4)
CHANGES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "frozen stages": (
        {"model.backbone.frozen_stages": 2},
        ["its optimiser has ", "model.backbone.frozen_stages: 2 in the config, nothing in the checkpoint"],
    ),
    "optimiser": (
        {"optim_wrapper.optimizer": SGD},
        [
            "its optimiser is another one than SGD of this config (it has no dampening, momentum, nesterov)",
            "optim_wrapper.optimizer.type: SGD in the config, AdamW in the checkpoint",
        ],
    ),
    "an optimiser with the same options": (
        {"optim_wrapper.optimizer.type": "Adam"},
        ["another one than Adam", "optim_wrapper.optimizer.type: Adam in the config, AdamW in the checkpoint"],
    ),
    "constructor": (
        {"optim_wrapper.constructor": "DefaultOptimWrapperConstructor"},
        [
            "its optimiser has ",
            "optim_wrapper.constructor: DefaultOptimWrapperConstructor in the config, LayerDecay in the checkpoint",
        ],
    ),
    "options of the constructor": (
        {"optim_wrapper.paramwise_cfg.custom_keys": dict(neck=dict(lr_mult=2.0))},
        ["its optimiser has ", "optim_wrapper.paramwise_cfg.custom_keys.neck.lr_mult: 2.0 in the config, nothing in the"],
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_differs_is_named(there: Path, what: str) -> None:
    changes, words = CHANGES[what]
    with pytest.raises(InputError) as raised:
        begin("layers", changes, "auto")
    told = str(raised.value)
    assert all(part in told for part in words), told
    assert told.startswith(f"--resume {there / 'layers' / 'iter_2.pth'}: its optimiser ")
    assert told.endswith(
        f"begin anew from its weights, without --resume: --cfg-options load_from={there / 'layers' / 'iter_2.pth'}"
    )


def test_what_the_message_advises_works(there: Path) -> None:
    options = {**SHORT, "model.backbone.frozen_stages": 2, "optim_wrapper.optimizer": SGD}
    anew = options | {"load_from": str(there / "layers" / "iter_2.pth"), "train_cfg.max_iters": 1}
    results = mmvit.train("detector.py", work_dir="anew", cfg_options=anew)
    losses = [entry for entry in read_scalars(there / "anew") if "loss" in entry]
    assert len(losses) == 1, "mmengine keeps visualizers by name: this run would write into the folder of the first"
    assert results.checkpoint == str(there / "anew" / "iter_1.pth")
    assert results.metrics["coco/bbox_mAP"] == mmvit.evaluate("detector.py", results.checkpoint)["coco/bbox_mAP"]


def test_a_run_resumed_in_another_folder_goes_on_with_its_figures(there: Path) -> None:
    options = {**SHORT, "train_cfg.val_interval": 1}
    mmvit.train("detector.py", work_dir="begun", cfg_options=options)
    mmvit.evaluate("detector.py", "begun/iter_2.pth", work_dir="begun")
    files = [path for path in Path("begun").rglob("*") if path.is_file() and path.suffix != ".log"]  # this process has it open
    before = {path: path.read_bytes() for path in files}
    options["train_cfg.max_iters"] = 3
    results = mmvit.train("detector.py", work_dir="elsewhere", resume="begun/iter_2.pth", cfg_options=options)
    assert [entry.iteration for entry in results.validations] == [1, 2, 3]
    assert not results.tests, "of checkpoints that are elsewhere"
    assert [entry["step"] for entry in read_scalars(there / "elsewhere") if "loss" in entry] == [1, 2, 3]
    assert before == {path: path.read_bytes() for path in before}, "the first folder stays as it was"


def test_a_test_leaves_the_config_of_the_training(there: Path) -> None:
    """The closing lines of a training name it for the next commands."""
    trained = Path("layers/detector.py").read_bytes()
    mmvit.evaluate("detector.py", "layers/iter_2.pth", work_dir="layers", cfg_options={"test_dataloader.batch_size": 3})
    assert Path("layers/detector.py").read_bytes() == trained
    copies = sorted(Path("layers").glob("*/vis_data/config.py"))
    assert "batch_size=3" in copies[-1].read_text(), "what was tested is beside the log of the test"


def test_several_datasets_whose_metainfo_differs(there: Path) -> None:
    """mmdet's ConcatDataset then has a list of them; MultiDatasetsEvaluator asks one metric a dataset, and no other."""
    cfg = Config.fromfile("detector.py")
    part, metric = cfg.val_dataloader.dataset.to_dict(), cfg.val_evaluator.to_dict()
    noted = [dict(part, metainfo=dict(source=source)) for source in ("first camera", "second")]
    both = dict(_delete_=True, type="ConcatDataset", datasets=noted)
    apart = dict(
        _delete_=True,
        type="MultiDatasetsEvaluator",
        metrics=[dict(metric, classwise=True)] * 2,
        dataset_prefixes=["one", "two"],
    )
    anew = {
        f"{split}_{what}": deepcopy(value)
        for split in ("val", "test")
        for what, value in (("dataloader.dataset", both), ("evaluator", apart))
    }
    train_set = dict(
        both, datasets=[dict(cfg.train_dataloader.dataset.to_dict(), metainfo=entry["metainfo"]) for entry in noted]
    )
    options = {**SHORT, **anew, "train_dataloader.dataset": train_set, "train_cfg.val_interval": 2}
    results = mmvit.train("detector.py", work_dir="several", cfg_options=deepcopy(options))  # mmengine changes them
    assert {"one/coco/bbox_mAP", "two/coco/bbox_mAP"} <= set(results.metrics)
    found = [set(figures) for figures in results.validations[-1].by_class.values()]
    assert found
    assert found == [{"one AP", "two AP"}] * len(found)
    assert Path("several/predictions.png").is_file()
    mmvit.evaluate("detector.py", results.checkpoint, work_dir="several", out="several/found.pkl", cfg_options=anew)
    assert len(load("several/found.pkl")) == 2 * len(json.loads(Path(metric["ann_file"]).read_text())["images"])


def test_an_unknown_option_in_python() -> None:
    with pytest.raises(InputError, match="option epoch: unknown; did you mean epochs"):
        mmvit.train("retinanet_pvt_tiny_coco", epoch=3)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (dict(amp="fp16"), "amp: 'fp16'. Expected True or auto, float16, bfloat16"),
        (dict(launcher="torchrun"), "launcher: 'torchrun'. Expected none, pytorch"),
        (dict(minutes="30"), "minutes: '30'. Expected a number"),
        (dict(resume=3), "resume: 3. Expected True"),
        (dict(cfg_options=["a=1"]), "cfg_options: ['a=1']. Expected a dict"),
        (dict(track=dict(wandb=True)), "track: {'wandb': True}. Expected some of"),
    ],
)
def test_values_that_an_option_cannot_have(option: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        mmvit.train("retinanet_pvt_tiny_coco", **option)


def test_values_as_python_has_them() -> None:
    made = _made(TrainOptions, config="c", amp=True, resume=Path("a.pth"), track="wandb", minutes=np.float32(3))
    assert (made.amp, made.resume, made.track, made.minutes) == ("auto", "a.pth", ["wandb"], 3)
    made = _made(TrainOptions, config="c", amp=False, resume=True)
    assert (made.amp, made.resume) == (None, "auto")


def test_frozen_stages_that_the_optimiser_has_all_the_same(there: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """mmengine's own constructor takes frozen parameters as well, so that the run goes on, and says so."""
    begin("plain", {**PLAIN, "model.backbone.frozen_stages": 2, "train_cfg.max_iters": 3}, "auto")
    told = "model.backbone.frozen_stages: 2 in the config, nothing in the checkpoint. 2 holds. --cfg-options load_from="
    assert told in " ".join("".join(capfd.readouterr()).split())


def test_a_config_that_resumes_by_itself_is_told_the_same(there: Path) -> None:
    options = {"resume": True, "optim_wrapper.optimizer": SGD}
    file = str(there / "layers" / "iter_2.pth")
    for work_dir, begun in (("layers", {}), ("other", {"load_from": file})):
        with pytest.raises(InputError, match="another one than SGD"):
            begin(work_dir, options | begun)


def test_load_from_holds_where_there_is_nothing_to_resume(there: Path) -> None:
    """Scripts of clusters always say --resume; their first run begins from the weights that the config names."""
    begun = {"load_from": str(there / "layers" / "iter_2.pth")}
    first = train_config(TrainOptions(Path("detector.py"), Path("none"), resume="auto", cfg_options=begun))
    assert (first.resume, first.load_from) == (False, begun["load_from"])
    later = train_config(TrainOptions(Path("detector.py"), Path("layers"), resume="auto", cfg_options={"load_from": "x.pth"}))
    assert (later.resume, later.load_from) == (True, begun["load_from"])


def told(raised: pytest.ExceptionInfo[Exception], caplog: pytest.LogCaptureFixture) -> list[str]:
    """Below the traceback; on Python 3.10, which has no place for it there, in the log."""
    return getattr(raised.value, "__notes__", None) or [record.message for record in caplog.records if record.message == OFFER]


def test_a_model_that_does_not_build_is_offered_a_dry_run(there: Path, caplog: pytest.LogCaptureFixture) -> None:
    several = dict(type="MMSyncBN")  # the layer of mmcv that needs several processes
    with pytest.raises(ValueError, match="process group") as raised:
        begin("unbuilt", {"model.neck.norm_cfg": several})
    assert told(raised, caplog) == [OFFER]


@pytest.mark.parametrize("at", [1, FIRST_STEPS, FIRST_STEPS + 1])
def test_a_run_that_dies_early_is_offered_a_dry_run(there: Path, at: int, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RuntimeError, match="out of luck") as raised:
        begin(f"dead_{at}", {"custom_hooks": [dict(type="DyingHook", at=at)], "train_cfg.max_iters": 9})
    assert told(raised, caplog) == ([OFFER] if at <= FIRST_STEPS else [])


@pytest.mark.skipif(torch.cuda.is_available(), reason="GPUs have torch's SyncBN")
@pytest.mark.parametrize(("norm", "chosen"), [("SyncBN", "mmcv"), (torch.nn.SyncBatchNorm, "mmcv"), ("BN", None)])
def test_batch_norms_of_several_processes_on_cpus(there: Path, norm: Any, chosen: str | None) -> None:
    """Torch's are for GPUs; a pure-Python config names the class itself."""
    options = {"model.neck.norm_cfg": dict(type=norm)}
    cfg = train_config(TrainOptions(Path("detector.py"), Path("norms"), launcher="pytorch", cfg_options=options))
    assert cfg.get("sync_bn") == chosen
