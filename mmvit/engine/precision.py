"""`--amp`: the precision in which a training computes, as its config says it."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from mmengine.config import Config

from ..arguments import name_of
from ..compat.texts import plain_values, text_of
from ..errors import InputError
from ..layers.forms import fastest_precision

Amp = Literal["auto", "float16", "bfloat16"]  # auto: see `fastest_precision`
AMP = "amp"  # in the config: what auto came to
BFLOAT16 = "mmvit.BFloat16OptimWrapper"


def keep_amp(cfg: Config, checkpoint: Mapping[str, Any]) -> list[str]:
    """Give a run with `--amp` that is resumed the precision that it began with; return what was changed, in words."""
    before, now = plain_values(text_of(checkpoint), (AMP,)).get(AMP), cfg.get(AMP)
    if now is None or before == now or before not in ("float32", "bfloat16"):
        return []
    cfg[AMP] = before
    _set_amp(cfg, before)
    return [f"--amp: {before}, in which the training began, instead of {now}"]


def use_amp(cfg: Config, amp: Amp) -> None:
    """Let a training compute in mixed precision.

    Raises:
        InputError: the precision needs a GPU, or the config has a wrapper of its own.
    """
    cfg.pop(AMP, None)
    precision: str = amp
    if amp == "auto":
        precision = cfg[AMP] = fastest_precision("cuda" if torch.cuda.is_available() else "cpu", training=True)
        why = ", because this processor has no units for bfloat16; --amp bfloat16 computes in it anyway"
        cfg.changed += [f"--amp: {precision}{why if precision == 'float32' else ''}"]
    _set_amp(cfg, precision)


def _set_amp(cfg: Config, amp: str) -> None:
    on_gpu = torch.cuda.is_available()
    if amp == "float16" and not on_gpu:
        raise InputError("--amp float16: expected a GPU, and there is none here; on a CPU use --amp bfloat16")
    wrapper = cfg.optim_wrapper.get("type", "OptimWrapper")
    if name_of(wrapper) not in ("OptimWrapper", "AmpOptimWrapper", name_of(BFLOAT16)):
        raise InputError(f"--amp: expected optim_wrapper.type OptimWrapper, the config has {wrapper}")
    for key in ("loss_scale", "dtype", "use_fsdp"):  # AmpOptimWrapper's own
        cfg.optim_wrapper.pop(key, None)
    if amp != "float16":
        cfg.optim_wrapper.type = BFLOAT16 if amp == "bfloat16" else "OptimWrapper"
    else:
        cfg.optim_wrapper.update(type="AmpOptimWrapper", loss_scale="dynamic", dtype="float16")
