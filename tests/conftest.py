"""Every test sees mmcv through the stand-in, as a user does after `import mmvit`; those marked `gpu` take `device`, `quick`."""

import gc
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, products on a GPU are not deterministic

import pytest
import torch
from makers import leave_unformatted

import mmvit  # noqa: F401  (before anything imports mmcv.ops)
from mmvit.compat import versions

LONGEST = ("test_processes.py", "test_resume.py", "test_export.py", "test_training.py", "test_configs.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", choices=("cpu", "cuda"), help="where tests marked gpu run (default: cuda where there is one)")
    parser.addoption("--quick", action="store_true", help="tests marked gpu: tiny networks, few iterations; always so on a CPU")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """The device under test, without TF32, so that float32 is float32."""
    torch.backends.cudnn.allow_tf32 = False
    return request.config.getoption("device") or ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="session")
def quick(request: pytest.FixtureRequest, device: str) -> bool:
    return request.config.getoption("quick") or device == "cpu"


def pytest_collection_modifyitems(items: list) -> None:
    """The longest files first, so that the other worker has enough to do while one is at them."""
    for item in items:
        for mark in item.iter_markers("needs"):
            if versions.NEEDS[mark.args[0]] > versions.TORCH:
                item.add_marker(pytest.mark.skip(reason=f"not in this version of torch: {mark.args[0]}"))
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def pytest_collection_finish() -> None:
    """Spare the tests two things that mmengine does for each run: formatted configs, and collections of all there is."""
    leave_unformatted()
    gc.collect()
    gc.freeze()
