"""Layer-wise learning-rate decay (Clark et al., ELECTRA, arXiv 2003.10555, section 3; as BEiT, arXiv 2106.08254, fine-tunes).

    optim_wrapper = dict(
        type="OptimWrapper",
        optimizer=dict(type="AdamW", lr=1e-4, weight_decay=0.05),
        constructor="mmvit.LayerDecay",
        paramwise_cfg=dict(decay_rate=0.9),
    )

The layers of a backbone with L blocks are the stem (0), its blocks (1 to L) and what comes after them (L + 1): fresh taps and
laterals, neck, heads. Layer l learns at lr * decay_rate ** (L + 1 - l). Patch embeddings, downsamplings and position tables
count with the first block of their stage, in the first stage with the stem; norms of outputs with the last block before them.
Norms, biases and other vectors, position tables, layer scales and class tokens are not decayed, in heads as in the backbone.

A config whose paramwise_cfg was written for mmengine's own constructor can keep it and add these two keys. `custom_keys` then
multiply the rate of a layer. Switches such as `norm_decay_mult=0` change nothing: such parameters are not decayed anyway.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from ..errors import InputError
from ..pyramid import Pyramid
from ..registry import OPTIM_WRAPPER_CONSTRUCTORS
from .models import unwrapped

RMS = (nn.RMSNorm,) if hasattr(nn, "RMSNorm") else ()  # torch 2.4
NORMS = (nn.LayerNorm, nn.GroupNorm, *RMS, _NormBase)  # _NormBase: batch and instance norms
NO_DECAY = ("pos_embed", "cls_token", "layer_scale")  # beginnings of the last part of a name
OPTIONS = ("decay_rate", "verbose", "custom_keys")
IMPLIED = ("norm_decay_mult", "bias_decay_mult", "flat_decay_mult")  # mmengine's switches, which can only be 0 here
MULTIPLIERS = ("lr_mult", "decay_mult")
NAMES_SHOWN = 2


@dataclass
class Group:
    """Parameters that share a learning rate and a weight decay."""

    below: int  # number of layers between them and the top; the exponent of the decay rate
    lr_mult: float  # further factor of the learning rate
    decay_mult: float  # factor of the optimiser's weight decay
    names: list[str] = field(default_factory=list)
    parameters: list[nn.Parameter] = field(default_factory=list)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecay(DefaultOptimWrapperConstructor):
    """Optimiser wrapper constructor for any model that contains backbones of this package, wrapped for DDP or not.

    `paramwise_cfg` takes
    - `decay_rate`, above 0 and at most 1;
    - `verbose`: True logs a line for each parameter group;
    - `custom_keys`, as in mmengine's constructor: parts of parameter names, of which the longest match counts, each with
      `lr_mult` and `decay_mult`, such as `dict(decode_head=dict(lr_mult=10.0))`. They multiply what the layer gives.

    Parameters that do not learn (`requires_grad=False`) are left out of the optimiser.

    Raises:
        InputError: other options, an impossible decay rate, an optimiser without lr, a model without such a backbone.
    """

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        options = "paramwise_cfg of mmvit.LayerDecay"
        unknown = sorted(set(self.paramwise_cfg) - {*OPTIONS, *IMPLIED})
        if unknown:
            raise InputError(f"{options} has no {', '.join(unknown)}; it has {', '.join(OPTIONS)}")
        rate = self.paramwise_cfg.get("decay_rate")
        if not isinstance(rate, int | float) or not 0 < rate <= 1:
            raise InputError(f"{options}: decay_rate={rate!r}; expected a number above 0 and at most 1, such as 0.9")
        for name in IMPLIED:
            if self.paramwise_cfg.get(name):
                raise InputError(
                    f"{options}: {name}={self.paramwise_cfg[name]}; expected 0, because such parameters do not decay"
                )
        for key, factors in self.paramwise_cfg.get("custom_keys", {}).items():
            if odd := sorted(set(factors) - set(MULTIPLIERS)):
                raise InputError(f"{options}: custom_keys.{key} has no {', '.join(odd)}; it has {', '.join(MULTIPLIERS)}")
        if self.base_lr is None:
            raise InputError("optim_wrapper.optimizer has no lr; mmvit.LayerDecay scales it for each layer")

    def add_params(self, params: list[dict], module: nn.Module, **kwargs: Any) -> None:
        """Add the parameter groups of a whole model to `params`, those at full rate first: mmengine logs the first rate."""
        rate = self.paramwise_cfg["decay_rate"]
        groups = parameter_groups(module, self.paramwise_cfg.get("custom_keys", {}))
        for group in groups:
            settings = dict(params=group.parameters, lr=self.base_lr * rate**group.below * group.lr_mult)
            if self.base_wd is not None or group.decay_mult == 0:
                settings["weight_decay"] = (self.base_wd or 0.0) * group.decay_mult
            params.append(settings)
        if self.paramwise_cfg.get("verbose", False):
            print_log(self._table(groups, params), logger="current")

    def _table(self, groups: list[Group], params: list[dict]) -> str:
        lines = [
            f"mmvit.LayerDecay: {len(groups)} parameter groups, decay rate {self.paramwise_cfg['decay_rate']}",
            "  lr scale         lr  weight decay  tensors   parameters  names",
        ]
        for group, settings in zip(groups, params, strict=True):
            decay = settings.get("weight_decay", "default")
            count = sum(parameter.numel() for parameter in group.parameters)
            names = ", ".join(group.names[:NAMES_SHOWN]) + (", ..." if len(group.names) > NAMES_SHOWN else "")
            lines.append(
                f"  {settings['lr'] / self.base_lr:8.4f}  {settings['lr']:9.3g}  {decay:>12}  {len(group.names):7}  "
                f"{count:11,}  {names}"
            )
        return "\n".join(lines)


def parameter_groups(model: nn.Module, custom_keys: Mapping[str, Mapping[str, float]]) -> list[Group]:
    """Return the parameters of `model` that learn, each in one group, the groups nearest to the top first.

    Raises:
        InputError: there is no backbone of this package inside, or one has parts that belong to none of its layers.
    """
    below = layers_below_top(model)
    plain = set(without_decay(model))
    groups: dict[tuple[int, float, float], Group] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            fitting = [part for part in sorted(custom_keys) if part in name]
            factors = custom_keys[max(fitting, key=len)] if fitting else {}
            decay_mult = 0.0 if name in plain else factors.get("decay_mult", 1.0)
            key = below[name], factors.get("lr_mult", 1.0), decay_mult
            group = groups.setdefault(key, Group(*key))
            group.names.append(name)
            group.parameters.append(parameter)
    return [groups[key] for key in sorted(groups)]


def layers_below_top(model: nn.Module) -> dict[str, int]:
    """Return how many layers below the top each parameter is; 0 for everything outside the backbones.

    Raises:
        InputError: see `parameter_groups`.
    """
    below: dict[str, int] = defaultdict(int)
    backbones = [(prefix, module) for prefix, module in model.named_modules() if isinstance(module, Pyramid)]
    if not backbones:
        inside = unwrapped(getattr(model, "backbone", model))
        raise InputError(
            f"mmvit.LayerDecay knows only the layers of mmvit's backbones (type='mmvit.PVT' and the others), and found none "
            f"in {type(model).__name__} with {type(inside).__name__}. Leave optim_wrapper.constructor and paramwise_cfg out, "
            "or take the constructor that belongs to that backbone"
        )
    for prefix, backbone in backbones:
        layers = backbone.layers()
        layer_of = {id(parameter): number for number, layer in enumerate(layers) for parameter in layer.parameters()}
        for name, parameter in backbone.named_parameters():
            if id(parameter) in layer_of:
                below[f"{prefix}.{name}" if prefix else name] = len(layers) - layer_of[id(parameter)]
            elif not backbone.is_fresh(name):
                raise InputError(
                    f"mmvit.LayerDecay: {name} of {type(backbone).__name__} is in none of its layers; {type(backbone).__name__}"
                    ".layers() has to name the part, or is_fresh() has to say that it starts from random values"
                )
    return below


def without_decay(model: nn.Module) -> Iterator[str]:
    """Yield the names of the parameters that weight decay would only harm."""
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(module, NORMS) or parameter.ndim <= 1 or name.startswith(NO_DECAY):
                yield f"{prefix}.{name}" if prefix else name
