"""Fully sharded data parallel training (Zhao et al., arXiv 2304.11277), through mmengine's FlexibleRunner and FSDPStrategy.

    runner_type = "mmvit.FSDPRunner"

in a config switches it on. Each process keeps a share of the parameters, their gradients and the optimiser's state; a block
of a backbone is gathered when it is computed. Start it like any other training with several processes. Checkpoints contain the
whole model, as in other runs. Their optimiser state is keyed by parameter names, so that only runs with FSDP can resume from
it, with any number of processes.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine._strategy import FSDPStrategy as MMEngineStrategy
from mmengine.fileio import join_path
from mmengine.optim import OptimWrapper
from mmengine.runner import FlexibleRunner
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy

from ..compat.versions import SHARDING, require
from ..errors import InputError
from ..pyramid import Pyramid
from ..registry import RUNNERS, STRATEGIES

BASE = "base_param_settings"  # mmengine's optimiser wrapper schedules this rate and logs it as base_lr


@RUNNERS.register_module()
class FSDPRunner(FlexibleRunner):
    """mmengine's FlexibleRunner with the strategy below, unless the config names another.

    mmengine's runner overwrites the epoch and the iteration that a hook gives a checkpoint. The checkpoint that it writes again
    after a validation is then one step ahead, and resuming from it skips a step or a whole epoch; this runner keeps them.
    """

    def __init__(self, model: Any, *, strategy: Any = None, **options: Any) -> None:
        ours = dict(type="mmvit.FSDPStrategy", sync_bn=(options.get("cfg") or {}).get("sync_bn"))
        super().__init__(model, strategy=strategy or ours, **options)

    def save_checkpoint(
        self,
        out_dir: str | Path,
        filename: str,
        file_client_args: dict | None = None,  # mmengine's old name of backend_args
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: Mapping[str, Any] | None = None,
        by_epoch: bool = True,
        backend_args: dict | None = None,
    ) -> None:
        """Save the state after this epoch or iteration, or after the one in `meta`; all processes must call it."""
        at = dict(epoch=self.epoch + 1, iter=self.iter) if by_epoch else dict(epoch=self.epoch, iter=self.iter + 1)
        about = dict(cfg=self.cfg.pretty_text, experiment_name=self.experiment_name)
        if hasattr(self.train_dataloader.dataset, "metainfo"):
            about["dataset_meta"] = self.train_dataloader.dataset.metainfo
        self.strategy.save_checkpoint(
            str(join_path(out_dir, filename, backend_args=backend_args or file_client_args)),
            save_optimizer=save_optimizer,
            save_param_scheduler=save_param_scheduler,
            extra_ckpt=dict(meta={**at, **(meta or {}), **about}, message_hub=self.message_hub.state_dict()),
            callback=lambda checkpoint: self.call_hook("before_save_checkpoint", checkpoint=checkpoint),
        )


@STRATEGIES.register_module()
class FSDPStrategy(MMEngineStrategy):
    """mmengine's FSDPStrategy, corrected: it starts on GPUs only, calls functions of torch 2.0, and takes a share of a model
    for the whole.

    Differences: it runs on CPUs, too; it gathers the blocks of our backbones one by one; `clip_grad` limits the norm of the
    whole gradient; the rules of `paramwise_cfg` and of `mmvit.LayerDecay` see parameters in their own shapes; `sync_bn` works.

    Args:
        model_wrapper: options of `MMFullyShardedDataParallel` to add or to replace, such as
            `dict(sharding_strategy='SHARD_GRAD_OP')`.
        options: mmengine's, except `state_dict_cfg`: checkpoints are whole.

    Raises:
        InputError: there is only one process, or this version of torch shards on GPUs only.
    """

    def __init__(self, *, model_wrapper: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(state_dict_cfg="full", **options)
        self.model_wrapper: dict[str, Any] = dict(model_wrapper or {})
        # From a CPU nothing is offloaded to it: torch gathers Adam's averages in a buffer that it then reuses, so that all of
        # them would be one tensor, and before 2.14 it reads weights whose memory it has freed.
        for gathered in (self.state_dict_config, self.optim_state_dict_config):
            gathered.offload_to_cpu = torch.cuda.is_available()
        if not self.distributed:
            raise InputError(
                "runner_type mmvit.FSDPRunner shards a model over processes: start it with torchrun and --launcher pytorch"
            )

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        wrapper: dict[str, Any] = dict(use_orig_params=True)  # frozen and learning parameters side by side
        if blocks := {type(block) for block in blocks_of(model)}:
            wrapper["auto_wrap_policy"] = partial(transformer_auto_wrap_policy, transformer_layer_cls=blocks)
        if not torch.cuda.is_available():
            require(SHARDING)
            wrapper["device_id"] = torch.device("cpu")  # mmengine gives a GPU's number
        self.model_wrapper = {**wrapper, **self.model_wrapper}
        return super()._wrap_model(self.convert_model(model))

    def build_optim_wrapper(self, optim_wrapper: Any, model: nn.Module | None = None) -> OptimWrapper:
        assert isinstance(model, FullyShardedDataParallel)
        with FullyShardedDataParallel.summon_full_params(model, writeback=False):  # shares are flat: no shapes to go by
            built = super().build_optim_wrapper(optim_wrapper, model)
        if built.clip_grad_kwargs and built.clip_func is nn.utils.clip_grad_norm_:
            built.clip_func = lambda parameters, **settings: model.clip_grad_norm_(**settings)
        return built

    def optim_state_dict(self) -> dict[str, Any]:
        state = FullyShardedDataParallel.optim_state_dict(self.model, self.optim_wrapper.optimizer)
        return {**state, BASE: self.optim_wrapper.base_param_settings}

    def load_optim_state_dict(self, state_dict: dict[str, Any]) -> None:
        optimizer, base = self.optim_wrapper.optimizer, state_dict.pop(BASE, None)
        state = FullyShardedDataParallel.optim_state_dict_to_load(self.model, optimizer, state_dict)
        self.optim_wrapper.load_state_dict({**state, BASE: base})


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """Return the blocks of all backbones of this package in a model."""
    backbones = [module for module in model.modules() if isinstance(module, Pyramid)]
    return [layer.block for backbone in backbones for layer in backbone.layers() if layer.block is not None]
