"""Families, one file each; they register themselves when their files are imported (`weights.released.BACKBONES`).

Every file of this folder is imported here, except for kernels, which need Triton.
"""

from importlib import import_module
from pkgutil import iter_modules

from ..pyramid import Pyramid
from ..weights.released import BACKBONES

for _file in iter_modules(__path__):
    if not _file.name.endswith("_triton"):
        import_module(f"{__name__}.{_file.name}")


def __getattr__(name: str) -> type[Pyramid]:
    for family in BACKBONES.values():
        if family.__name__ == name:
            return family
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [family.__name__ for family in BACKBONES.values()]
