"""PVT, PVTv2, VOLO, Shunted Transformer, T2T-ViT and VAN as multi-scale pyramid backbones for OpenMMLab's heads.

Importing this package registers the scope `mmvit` with mmengine (`type='mmvit.PVT'` then works in any config) and lets plain
wheels do the work of a compiled mmcv (see `mmvit.compat`; `MMVIT_COMPAT=0` switches that off). It imports neither mmdet nor
mmseg, and the families only when they are asked for.
"""

from importlib import import_module
from typing import Any

try:
    import mmengine  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "mmengine":
        raise
    raise ModuleNotFoundError(
        "mmvit needs mmengine, which none of its core dependencies brings. Install one of the two stacks: "
        "pip install 'mmvit[openmmlab]' (official) or pip install 'mmvit[onedl]' (maintained forks)",
        name="mmengine",
    ) from error

from . import compat
from .version import __version__

compat.install()

PUBLIC = {
    "PVT": ".backbones",
    "PVTv2": ".backbones",
    "VOLO": ".backbones",
    "ShuntedTransformer": ".backbones",
    "T2TViT": ".backbones",
    "VAN": ".backbones",
    "create": ".zoo",
    "fuse": ".fusion",
    "list_archs": ".zoo",
    "CheckpointError": ".errors",
    "InputError": ".errors",
}
__all__ = ["__version__", *PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module 'mmvit' has no attribute {name!r}")
    return getattr(import_module(PUBLIC[name], __name__), name)


def __dir__() -> list[str]:
    return __all__
