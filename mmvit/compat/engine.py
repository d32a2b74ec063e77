"""Corrections of mmengine: its incompatibilities with current Python packages, and one waste of time.

- mmengine 0.10 asks `pkg_resources` which packages are installed and where; setuptools 82 and later no longer contain it.
  The three functions that ask are answered from `importlib.metadata`.
- mmengine and mmcv ask `pkgutil.find_loader` whether mmcv was compiled; Python 3.14 no longer has it.
- `_base_ = 'mmseg::...'` looks for a distribution of the official name, from a fixed table; the forks have other names.
- `Config.pretty_text` lets yapf format the config whenever it is asked, five times at the start of a run, which is a
  tenth of its CPU time. The last text is kept.
"""

import pkgutil
import sys
from collections.abc import Callable
from importlib import metadata, util
from importlib.abc import Loader
from pathlib import Path

import mmengine.config.utils
import mmengine.utils.package_utils as package_utils
from mmengine.config import Config

FORKS = {"mmdet": "onedl-mmdetection", "mmseg": "onedl-mmsegmentation"}


def is_installed(package: str) -> bool:
    """Return whether a distribution or an importable package of that name is installed."""
    if _has_distribution(package):
        return True
    spec = util.find_spec(package)
    return spec is not None and spec.origin is not None


def package2module(package: str) -> str:
    """Return the import name of a distribution. Raise ValueError if the distribution does not give it."""
    top_level = (metadata.distribution(package).read_text("top_level.txt") or "").split()
    if not top_level:
        raise ValueError(f"cannot infer the module name of {package}")
    return top_level[0]


def get_installed_path(package: str) -> str:
    """Return the folder of a distribution's or package's modules.

    Raises:
        importlib.metadata.PackageNotFoundError: neither is installed.
    """
    module = package2module(package) if _has_distribution(package) and util.find_spec(package) is None else package
    spec = util.find_spec(module)
    if spec is None or spec.origin is None:
        raise metadata.PackageNotFoundError(package)
    return str(Path(spec.origin).parent)


def find_loader(module: str) -> Loader | None:
    """Return what would import a module; None if there is no such module."""
    spec = util.find_spec(module)
    return None if spec is None else spec.loader


def install() -> None:
    """Replace the functions wherever they were imported to, and complete the table of distribution names."""
    if not hasattr(pkgutil, find_loader.__name__):
        setattr(pkgutil, find_loader.__name__, find_loader)
    if util.find_spec("pkg_resources") is None:
        for answer in (is_installed, package2module, get_installed_path):
            _replace(getattr(package_utils, answer.__name__), answer)
    names = mmengine.config.utils.MODULE2PACKAGE
    names.update({module: fork for module, fork in FORKS.items() if _has_distribution(fork)})
    Config.pretty_text = property(_keeping_the_last(Config.pretty_text.fget))


def _keeping_the_last(text_of: Callable[[Config], str]) -> Callable[[Config], str]:
    """Return a function that formats a config only if its content is not that of the last call."""
    last = ("", "")

    def pretty_text(cfg: Config) -> str:
        nonlocal last
        content = repr(cfg._cfg_dict)
        if content != last[0]:
            last = content, text_of(cfg)
        return last[1]

    return pretty_text


def _has_distribution(package: str) -> bool:
    try:
        metadata.distribution(package)
    except (metadata.PackageNotFoundError, ValueError):
        return False
    return True


def _replace(original: Callable, replacement: Callable) -> None:
    for module in [module for name, module in sys.modules.items() if name.startswith("mm")]:
        if getattr(module, original.__name__, None) is original:
            setattr(module, original.__name__, replacement)
