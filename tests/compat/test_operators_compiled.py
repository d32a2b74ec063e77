"""Supplied operators beside those of a compiled mmcv, over random inputs: `make test-compiled` builds one.

mmcv has no form for CPUs of RoIPool, deformable RoIPool, focal losses, multi-scale deformable attention, CARAFE, masked
convolution and SyncBN.
"""

from importlib import import_module

import pytest
import torch

from mmvit.compat import operators

if operators.is_supplied():
    pytest.skip("mmcv is not compiled here: make test-compiled", allow_module_level=True)

import mmcv._ext as extension
from operator_cases import CASES, Case, answers
from torch import Tensor

OURS = {
    name: getattr(import_module(f"mmvit.compat.operators.{file}"), name)
    for file, names in operators.SUPPLIED.items()
    for name in names
}
SEEDS = 10


def both(case: Case, seed: int, dtype: torch.dtype, patch: pytest.MonkeyPatch) -> tuple[list[Tensor], list[Tensor]]:
    """What the compiled operator answers, and ours."""
    torch.manual_seed(seed)
    inputs = tuple(tensor.to(dtype) for tensor in case.inputs())
    compiled = answers(case, inputs)
    for name in case.names:
        patch.setattr(extension, name, OURS[name])
    return compiled, answers(case, inputs)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, dtype) for name, case in CASES.items() for dtype in case.compiled],
    ids=lambda value: str(value).removeprefix("torch."),
)
def test_compiled_and_supplied_agree(name: str, dtype: torch.dtype) -> None:
    small = 1e-4 if dtype is torch.float32 else 1e-10
    for seed in range(SEEDS):
        with pytest.MonkeyPatch.context() as patch:
            compiled, ours = both(CASES[name], seed, dtype, patch)
        torch.testing.assert_close(ours, compiled, rtol=small, atol=small, msg=lambda text, seed=seed: f"seed {seed}: {text}")
