"""PVT, PVTv2, VOLO, Shunted Transformer, T2T-ViT and VAN as multi-scale pyramid backbones for OpenMMLab's heads.

Importing this package registers the scope `mmvit` with mmengine, so that `type='mmvit.PVT'` works in any config, and lets plain
wheels do the work of a compiled mmcv (see `mmvit.compat`; `MMVIT_COMPAT=0` switches that off). It imports neither mmdet nor
mmseg, and imports the families only when they are asked for. Where torch is not installed, it registers nothing, and
`Predictor` opens exported models.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from .version import __version__


def _install() -> None:
    """Register the scope and install the stand-ins. Raise ModuleNotFoundError if mmengine is not installed."""
    try:
        import mmengine  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "mmengine":
            raise
        raise ModuleNotFoundError(
            "mmvit needs mmengine, which is not among its core dependencies. Install one of the two stacks: "
            "pip install 'mmvit[openmmlab]' (official) or pip install 'mmvit[onedl]' (maintained forks)",
            name="mmengine",
        ) from error

    from . import compat
    from .config import files

    compat.install()
    files.install()


if find_spec("torch") is not None:  # without torch, only exported models can be run, and there is nothing to register
    _install()

__all__ = ["__version__"]  # and what `__dir__` lists
PUBLIC = {
    "Predictor": ".predict.predictor",
    "train": ".engine.api",
    "evaluate": ".engine.api",
    "create": ".zoo",
    "list_archs": ".zoo",
    "CheckpointError": ".errors",
    "InputError": ".errors",
}


def __getattr__(name: str) -> Any:
    """Import public names on first use; names that begin with a capital may be a family's."""
    if name in PUBLIC:
        return getattr(import_module(PUBLIC[name], __name__), name)
    if name[0].isupper():
        return getattr(import_module(".backbones", __name__), name)
    raise AttributeError(f"module 'mmvit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["__version__", *PUBLIC, *dir(import_module(".backbones", __name__))]
