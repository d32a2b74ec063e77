"""Every test sees mmcv through the stand-in, as a user does after `import mmvit`; those marked `gpu` take `device`, `quick`."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, products on a GPU are not deterministic

import pytest
import torch

import mmvit  # noqa: F401  (before anything imports mmcv.ops)
from mmvit.compat import versions

# Parts of names of tests, and the feature without which an old torch skips them.
FEATURES = {
    "compile": versions.COMPILING,
    "compiling": versions.COMPILING,
    "graph_break": versions.COMPILING,
    "exported": versions.EXPORTING,
    "exports": versions.EXPORTING,
    "a_program": versions.EXPORTING,
    "in_the_interpreter": versions.COMPILING,  # Triton's, which comes with torch
    "test_under_autocast_on_a_cpu[torch.float16": versions.HALF,
    "test_in_half_precision_throughout[torch.float16": versions.HALF,
    "test_on_the_meta_device[DeformConv2dPack": versions.META,
    "test_on_the_meta_device[ModulatedDeformConv2dPack": versions.META,
    "tests/export/": versions.SEGMENTERS,
    "test_programs": versions.SEGMENTERS,
}
LONGEST = ("test_training.py", "test_configs.py")


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
        for part, feature in FEATURES.items():
            if part in item.nodeid and versions.NEEDS[feature] > versions.TORCH:
                item.add_marker(pytest.mark.skip(reason=f"not in this version of torch: {feature}"))
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
