"""Which of two forms of a computation runs. Both give the same values; which is faster depends on the machine.

`is_exporting`, `is_compiling` and `is_compiled_inference` ask about the program. Where a form can run at all, the table `FORMS`
says on which processors it is the faster one, as measured (docs/performance.md). The choice depends on the kind of processor
alone, never on a clock, so that a resumed training computes the same bits. An environment variable, set to 1 or 0, fixes it;
`choices` lists them all.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..compat import versions
from ..errors import InputError


def is_exporting() -> bool:
    """Return whether a program for another runtime is being written."""
    return versions.is_exporting() or torch.jit.is_tracing()


def is_compiling() -> bool:
    """Return whether a program is being compiled or exported; tracing, which records operations as they run, is neither."""
    return versions.is_compiling()


def is_compiled_inference() -> bool:
    """Return whether a program for inference is being compiled to run in this process."""
    return versions.is_compiling() and not versions.is_exporting() and not torch.is_grad_enabled()


def _has(instructions: str) -> bool:
    return getattr(torch.cpu, f"_is_{instructions}_supported", bool)()


class Processors(NamedTuple):
    """A kind of processors, in words, and the question whether this one is of it."""

    words: str
    include_this: Callable[[], bool]


ALL = Processors("any processor", lambda: True)
NONE = Processors("no processor so far", lambda: False)
WITHOUT_AMX = Processors("processors without AMX", lambda: not _has("amx_tile"))
BFLOAT16 = Processors("processors with AMX or AVX512-BF16", lambda: _has("amx_tile") or _has("avx512_bf16"))
BFLOAT16_WITHOUT_AMX = Processors(
    "processors with AVX512-BF16 and without AMX", lambda: _has("avx512_bf16") and not _has("amx_tile")
)


@dataclass(frozen=True)
class Form:
    """A faster form of a computation: where it can run, and on which processors it is chosen."""

    name: str  # what it is
    instead: str  # the form that runs otherwise
    variable: str  # the environment variable that fixes it: 1 always, 0 never
    inference: Processors  # that it is chosen on
    training: Processors
    device: str = "cpu"  # the type of device that it is written for
    in_programs: bool = False  # whether compiled programs have it, too; exported ones never do

    def is_fixed(self) -> bool | None:
        """Return what the environment fixes; None if nothing. Raise InputError if the variable is neither 0 nor 1."""
        value = os.environ.get(self.variable, "")
        if value not in ("", "0", "1"):
            raise InputError(f"{self.variable}={value!r}: expected 1 ({self.name}), 0 ({self.instead}), or no value")
        return bool(int(value)) if value else None

    def is_chosen(self, training: bool) -> bool:
        """Return whether this form runs where it can: as the environment says, else by the processor."""
        fixed = self.is_fixed()
        return (self.training if training else self.inference).include_this() if fixed is None else fixed

    def runs_on(self, tensor: Tensor) -> bool:
        """Return whether to compute with this form on the device of a tensor, in the program at hand."""
        if tensor.device.type != self.device or is_exporting() or (is_compiling() and not self.in_programs):
            return False
        return self.is_chosen(torch.is_grad_enabled())


# Figures beside a row: time without this form over time with it. AMD: an EPYC with AVX512-BF16; Intel: a Xeon with AMX.
# AMD 1.4 to 1.7 (one thread); Intel 0.36 to 0.67.
ATTENTION_IN_BLOCKS = Form(
    "bfloat16 attention in blocks", "torch's kernel", "MMVIT_ATTENTION_IN_BLOCKS", BFLOAT16_WITHOUT_AMX, NONE
)
# PVT small, 800 x 1280. Intel: inference 1.55, training 0.93.
BANDS = Form("MLPs in bands of rows", "whole hidden layers", "MMVIT_BANDS", ALL, WITHOUT_AMX)
# PVT v2 b2, 800 x 1280. Intel: inference 0.95, training 1.03.
CONVOLUTIONAL_BANDS = Form(
    "MLPs with convolutions of tokens in bands", "whole hidden layers", "MMVIT_CONVOLUTIONAL_BANDS", WITHOUT_AMX, ALL
)
# VAN b2, 800 x 1280. Intel: inference 0.84; training not measured.
MAP_BANDS = Form("MLPs of maps in bands", "whole hidden layers", "MMVIT_MAP_BANDS", WITHOUT_AMX, ALL)
# VAN b2, inference. Intel: 1.19; AMD: 3 to 5 for the operator.
PHASES = Form("dilated convolutions by phases", "torch's convolution", "MMVIT_PHASES", ALL, ALL, in_programs=True)
# Never measured on a GPU.
TRITON = Form("outlook attention in Triton", "torch's operations", "MMVIT_TRITON", NONE, NONE, device="cuda", in_programs=True)
# Intel: a training step of PVT small 1.7. AMD: inference, 800 x 1280, 1.6 to 2.3, runs of two days; training not measured.
AUTO_BFLOAT16 = Form("bfloat16 where it is asked for as auto", "float32", "MMVIT_AUTO_BFLOAT16", BFLOAT16, BFLOAT16)
FORMS = (ATTENTION_IN_BLOCKS, BANDS, CONVOLUTIONAL_BANDS, MAP_BANDS, PHASES, TRITON, AUTO_BFLOAT16)


def fastest_precision(device: str, training: bool = False) -> str:
    """Return the precision that `--precision auto` and `--amp` stand for on a type of device: that of its fast products."""
    if device == "cuda":
        return "float16"
    return "bfloat16" if device == "cpu" and AUTO_BFLOAT16.is_chosen(training) else "float32"


def forms_in_training(device: str) -> dict[str, bool]:
    """Return, by their variables, whether the forms of a type of device that decide a training's last bits are chosen."""
    return {form.variable: form.is_chosen(True) for form in FORMS if form.device == device and form is not AUTO_BFLOAT16}


class Choice(NamedTuple):
    """What runs on this machine: a row of the doctor's table."""

    form: str
    instead: str
    device: str
    inference: bool
    training: bool
    reason: str  # who decided: the variable, or the kinds of processors for inference and training
    variable: str


def choices() -> Iterator[Choice]:
    """Yield which forms this machine computes with, and why. Raise InputError if a variable has an impossible value."""
    for form in FORMS:
        reason = f"inference: {form.inference.words}; training: {form.training.words}"
        if form.is_fixed() is not None:
            reason = f"{form.variable}={os.environ[form.variable]}"
        inference, training = form.is_chosen(training=False), form.is_chosen(training=True)
        yield Choice(form.name, form.instead, form.device, inference, training, reason, form.variable)
