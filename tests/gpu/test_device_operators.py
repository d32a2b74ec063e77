"""Every operator that is supplied for a compiled mmcv on a device, beside the same operator in float64 on the CPU."""

from collections.abc import Callable
from typing import Any

import mmcv._ext as extension
import pytest
import torch
from mmcv import ops
from operator_cases import CASES, Case, answers
from torch import Tensor

from mmvit.compat import operators

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.stack,
    pytest.mark.skipif(not operators.is_supplied(), reason="a compiled mmcv is installed here and takes over"),
]
CUDA_ONLY = {"carafe_naive_backward"}  # mmcv's Python half refuses it on a CPU: the case below


def require_close(found: list[Tensor], exact: list[Tensor]) -> None:
    found, exact = ([tensor.cpu().double() for tensor in tensors] for tensors in (found, exact))
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_operator_equals_float64_on_the_cpu(name: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    called = set()
    for function in case.names:
        original = getattr(extension, function)

        def noted(*arguments: Any, of: Callable = original, function: str = function, **options: Any) -> Any:
            called.add(function)
            return of(*arguments, **options)

        monkeypatch.setattr(extension, function, noted)
    torch.manual_seed(0)
    inputs = case.inputs()
    found = answers(case, tuple(tensor.to(device, torch.float32) for tensor in inputs))
    assert called == set(case.names)
    require_close(found, answers(case, inputs))


def test_naive_carafe_has_gradients(device: str) -> None:
    """mmcv allows them on a GPU only; they are those of the other form."""
    if device == "cpu":
        pytest.skip("mmcv asks for a GPU")
    case = CASES["carafe"]
    form = Case(lambda maps, mask: ops.carafe_naive(maps, mask, 3, 2, 2), case.inputs, (), case.learnt)
    torch.manual_seed(0)
    inputs = case.inputs()
    found = answers(form, tuple(tensor.to(device, torch.float32) for tensor in inputs))
    require_close(found, answers(case, inputs))


def test_every_supplied_operator_has_a_case() -> None:
    tried = {name for case in CASES.values() for name in case.names}
    assert tried | CUDA_ONLY == {name for names in operators.SUPPLIED.values() for name in names}
