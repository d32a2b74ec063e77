"""What differs between the supported versions of torch; no other file asks which version there is.

| from torch | here |
| --- | --- |
| 2.2 | `is_compiling` is in `torch.compiler` |
| 2.4 | `operator` makes operators that stay whole in compiled programs, autocast is asked by device |
| 2.4 | a CPU, too, has fused optimisers (`FUSED`) |
| 2.6 | torch's own unpickler takes a list of allowed classes (`LISTS`), before `unpickling` does; `total_norm` is torch's |
| 2.12 | torch checks that an archive has what its tensors claim (`SIZED`), before `unpickling` does |
| 2.12 | `is_exporting` is torch's: until then it is either missing, or also true inside of `torch.compile` |

`NEEDS` lists what users ask for by name and only newer versions can do.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError

Version = tuple[int, int]


def numbers(version: str) -> Version:
    """Return the first two numbers of a version such as `2.12.0+cpu`."""
    major, minor = version.split("+")[0].split(".")[:2]
    return int(major), int(minor)


TORCH = numbers(torch.__version__)
LEAST: Version = (2, 1)
OPERATORS = FUSED = TORCH >= (2, 4)
LISTS = TORCH >= (2, 6)
SIZED = TORCH >= (2, 12)

# Features that need more than LEAST, and the first version that has each.
COMPILING, EXPORTING = "compiled backbones (--compile)", "mmvit export"
HEADS, PROGRAMS = "mmvit export of a detector or segmenter", ".pt2 files"  # earlier .pt2 files hold pickles
HALF, META, SHARDING = "float16 on a CPU", "costs of models with deformable convolutions", "FSDP on CPUs"
NEEDS: dict[str, Version] = {
    **dict.fromkeys((COMPILING, EXPORTING, HALF, META, SHARDING), (2, 6)),
    **dict.fromkeys((HEADS, PROGRAMS), (2, 9)),
}


def require(feature: str) -> None:
    """Raise InputError if this version of torch cannot do it."""
    least = NEEDS[feature]
    if least > TORCH:
        install = "pip install -U torch torchvision"
        raise InputError(f"{feature}: not in torch {torch.__version__}; it needs torch {spelt(least)} or later: {install}")


def lacking(version: Version = TORCH) -> list[str]:
    """Return what this version cannot do, each with the version that can."""
    return [f"{feature} (torch {spelt(least)})" for feature, least in NEEDS.items() if least > version]


def spelt(version: Version) -> str:
    return ".".join(map(str, version))


is_compiling: Callable[[], bool] = (torch.compiler if hasattr(torch.compiler, "is_compiling") else torch._utils).is_compiling


def _exporting() -> Callable[[], bool]:
    """Return the question whether a program is being exported, in the form that also holds inside of `torch.compile`.

    From 2.7 to 2.11 only the flag behind torch's function does. Before, nothing tells: then each compiled program is taken for
    an exported one, which is right everywhere, and slower where only a compiled one could be faster.
    """
    if TORCH >= (2, 12):
        return torch.compiler.is_exporting
    return (lambda: torch.compiler._is_exporting_flag) if hasattr(torch.compiler, "_is_exporting_flag") else is_compiling


is_exporting = _exporting()


has_autocast: Callable[[str], bool] = getattr(torch.amp, "is_autocast_available", ("cpu", "cuda").__contains__)


def autocast_dtype(device: str) -> torch.dtype | None:
    """Return the precision of autocast on a kind of device, `cpu` or `cuda`; None where autocast is off."""
    if TORCH >= (2, 4):
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    if device == "cpu":
        return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
    return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm of all numbers of the tensors."""
    if TORCH >= (2, 6):
        return torch.nn.utils.get_total_norm(tensors)
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(tensor) for tensor in tensors]))


class PlainOperator:
    """Operator like those of `torch.library.custom_op`, except that compiled programs see its parts."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.call = function

    def __call__(self, *arguments: Any) -> Any:
        return self.call(*arguments)

    def register_fake(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    def register_autograd(self, backward: Callable[..., Any], *, setup_context: Callable[..., Any]) -> None:
        steps = dict(forward=self.call, setup_context=setup_context, backward=backward)
        name = getattr(self.call, "__name__", "operator")
        made: Any = type(name, (torch.autograd.Function,), {step: staticmethod(run) for step, run in steps.items()})
        self.call = made.apply


def operator(name: str) -> Callable[[Callable[..., Any]], Any]:
    """Make a function the operator `namespace::name` of torch's, which writes into none of its arguments."""
    return torch.library.custom_op(name, mutates_args=()) if OPERATORS else PlainOperator


def flop_formula(name: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Register a function that counts the operations of an operator; of a plain one, torch's counter sees the parts."""
    if not OPERATORS:
        return lambda formula: formula
    from torch.utils.flop_counter import register_flop_formula

    namespace, _, short = name.partition("::")
    return register_flop_formula(getattr(getattr(torch.ops, namespace), short))


@contextmanager
def flop_counter(model: nn.Module) -> Iterator[Any]:
    """Count a model's operations with torch's counter.

    Modules with a hook run bands, which overlap, whole. The hooks that the counter of torch 2.1 brings along would take a list
    of maps apart before it reaches a neck, so that it is given no modules.
    """
    from torch.utils.flop_counter import FlopCounterMode

    hooks = [module.register_forward_pre_hook(lambda *_: None) for module in model.modules()]
    try:
        with FlopCounterMode(display=False) as counter:
            yield counter
    finally:
        for hook in hooks:
            hook.remove()
