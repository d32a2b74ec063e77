"""bfloat16 and torch.compile in training: the same exactness and the same checks as in float32, sizes compiled once."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES
from makers import HOME, needs_compiling
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from small_run import BFLOAT16, kill, resumed, runner, train
from torch import nn

from benchmarks.stress import differing, outcome
from mmvit.commands.training import amp_of, training
from mmvit.engine import configuration
from mmvit.engine.computing import compile_parts
from mmvit.engine.configuration import TrainOptions, train_config
from mmvit.engine.precision import Amp, keep_amp
from mmvit.errors import InputError
from mmvit.layers.forms import AUTO_BFLOAT16

pytestmark = pytest.mark.stack

LEAF = HOME / "configs" / "fpn_pvt_v2_b0_ade20k.py"
COMPILE = dict(type="mmvit.CompileHook", backend="eager")  # the graphs and their guards; generated code takes minutes here


@HOOKS.register_module()
class PrecisionHook(Hook):
    """Notes in which type a layer of the backbone computes, and whether the backbone is compiled."""

    seen: tuple[torch.dtype, bool] | None = None

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        if not batch_idx:
            head = runner.model.head[1]
            head.register_forward_hook(lambda module, inputs, output: self._note(runner, output))

    def _note(self, runner: Runner, output: torch.Tensor) -> None:
        if runner.model.training:
            type(self).seen = output.dtype, runner.model.backbone._compiled_call_impl is not None


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=[pytest.mark.slow, needs_compiling])])
def test_killed_and_resumed_it_ends_with_the_same_bits(tmp_path: Path, compiled: bool) -> None:
    options: dict[str, Any] = dict(by_epoch=False, optim_wrapper=BFLOAT16)
    hooks = [dict(type="PrecisionHook"), dict(type="mmvit.FiniteLossHook"), *([COMPILE] if compiled else [])]
    if compiled:  # to evaluate it would be compiled again
        options |= dict(val_cfg=None, val_dataloader=None, val_evaluator=None, checkpoint=dict(save_best=None))
    train(runner(tmp_path / "whole", hooks, **options))
    assert PrecisionHook.seen == (torch.bfloat16, compiled)
    kill(resumed(tmp_path / "killed", hooks=[*hooks, dict(type="KillHook", at=7)], **options))
    train(resumed(tmp_path / "killed", hooks=hooks, **options))
    whole = outcome(tmp_path / "whole")
    assert differing(whole, outcome(tmp_path / "killed")) == []
    assert {value.dtype for name, value in whole.items() if name.startswith("state_dict.head")} == {torch.float32}
    assert not any("_orig_mod" in name for name in whole), "names in checkpoints are those of a model that is not compiled"


def test_a_fault_of_the_precision_is_looked_for_in_that_precision(tmp_path: Path) -> None:
    """The batch that is repeated for a diagnosis runs under autocast as well: in float32 this head would be finite."""
    run = runner(tmp_path, [dict(type="mmvit.FiniteLossHook", patience=0)], optim_wrapper=BFLOAT16)
    run.model.head[1].register_forward_hook(lambda module, inputs, output: output / (output.dtype is torch.float32))
    with pytest.raises(InputError, match=r"The first values that are not finite come from head.1 \(Linear\)"):
        train(run)


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = next(family for family in FAMILIES if family.name == "PVTv2").build(out_indices=(0, 1))
        self.neck = nn.Conv2d(self.backbone.out_channels[-1], 4, 1)


@needs_compiling
def test_sizes_do_not_compile_anew() -> None:
    torch.compiler.reset()
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    model = Detector().eval()
    compile_parts(model, backend=backend)
    compile_parts(model, backend=backend)  # nothing is compiled twice
    with torch.no_grad():
        for height, width in product((96, 160), (64, 128, 224)):
            model.neck(model.backbone(torch.rand(2, 3, height, width))[-1])
    assert len(graphs) <= 3, "of the backbone, of the neck, and for squares or the like"


def test_amp_reaches_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def wrapper(amp: Amp, gpu: bool, **options: Any) -> Config:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        return train_config(TrainOptions(LEAF, amp=amp, cfg_options=options)).optim_wrapper

    assert wrapper("bfloat16", False).type == wrapper("bfloat16", True).type == BFLOAT16["type"]
    for found in (wrapper("auto", True), wrapper("float16", True)):
        assert (found.type, found.loss_scale, found.dtype) == ("AmpOptimWrapper", "dynamic", "float16")
    loss_scale = {"optim_wrapper.type": "AmpOptimWrapper", "optim_wrapper.loss_scale": 512.0}
    assert "loss_scale" not in wrapper("bfloat16", True, **loss_scale)
    with pytest.raises(InputError, match="--amp float16: expected a GPU"):
        wrapper("float16", False)
    with pytest.raises(InputError, match=r"--amp: expected optim_wrapper\.type OptimWrapper, the config has Other"):
        wrapper("auto", False, **{"optim_wrapper.type": "Other"})


def test_amp_is_what_the_processor_computes_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed run keeps it on another kind of machine, unless it asks for another by name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(AUTO_BFLOAT16.variable, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)

    def config(amx: bool, amp: Amp = "auto") -> Config:
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
        return train_config(TrainOptions(LEAF, amp=amp, cfg_options={"optim_wrapper.type": "AmpOptimWrapper"}))

    there, here = config(amx=True), config(amx=False)
    assert (there.optim_wrapper.type, here.optim_wrapper.type) == (BFLOAT16["type"], "OptimWrapper")
    assert "--amp: bfloat16" in there.changed
    assert any(line.startswith("--amp: float32, because this processor has no units for bfloat16") for line in here.changed)
    began = dict(meta=dict(cfg=there.pretty_text))
    assert keep_amp(here, began) == ["--amp: bfloat16, in which the training began, instead of float32"]
    assert (here.optim_wrapper.type, here.amp) == (BFLOAT16["type"], "bfloat16")
    assert keep_amp(here, began) == []
    assert keep_amp(config(amx=True, amp="bfloat16"), dict(meta=dict(cfg='amp = "float32"'))) == []


@needs_compiling
def test_compile_reaches_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some.pth").touch()
    train = train_config(TrainOptions(LEAF, compile=True))
    test = configuration.test_config(configuration.TestOptions(LEAF, Path("some.pth"), compile=True))
    for cfg in (train, test):
        assert dict(type="mmvit.CompileHook") in cfg.custom_hooks
    sharded = {"runner_type": "mmvit.FSDPRunner"}
    with pytest.raises(InputError, match="--compile: not together with runner_type"):
        train_config(TrainOptions(LEAF, compile=True, cfg_options=sharded))


def test_a_config_after_amp_is_told(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        training(["--amp", "configs/some.py"])
    assert "'configs/some.py': expected auto, float16, bfloat16; a CONFIG comes before --amp" in capsys.readouterr().err
    assert amp_of("bfloat16") == "bfloat16"
