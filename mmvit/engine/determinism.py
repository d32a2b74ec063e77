"""`randomness=dict(deterministic=True)` on a GPU, where torch alone raises RuntimeError.

torch names what it has no deterministic form of under `torch.use_deterministic_algorithms`. Of what our configs run, these are
adaptive pooling (UperNet's) and RoIAlign, for which this package has forms of its own, and the histograms of mmsegmentation's
IoU. cuBLAS is deterministic with a workspace of a fixed size only (NVIDIA's cuBLAS documentation, "Results Reproducibility").
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config

WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def fix_workspace(cfg: Config) -> None:
    """Set cuBLAS's workspace, unless the environment does, if a config asks for determinism. It must precede its first use."""
    if (cfg.get("randomness") or {}).get("deterministic"):
        os.environ.setdefault(*WORKSPACE)


@contextmanager
def whole_counts() -> Iterator[None]:
    """Let an evaluation count on a GPU: torch does not know that sums of whole numbers up to 2**24 are equal in any order."""
    strict = torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()
    if strict:
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        if strict:
            torch.use_deterministic_algorithms(True)
