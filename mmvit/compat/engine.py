"""What in mmengine no longer fits current Python packages.

- mmengine 0.10 asks `pkg_resources` which packages are installed and where; setuptools 81 and later do not bring it.
  The three functions that ask are answered from `importlib.metadata`.
- `_base_ = 'mmseg::...'` looks for a distribution of the official name, from a fixed table; the forks are called otherwise.
- `_base_ = 'mmvit::...'` is not in that table. It is answered here, without the model index that mmengine reads for others.
"""

import sys
from collections.abc import Callable
from difflib import get_close_matches
from functools import wraps
from importlib import metadata, util
from pathlib import Path

import mmengine.config.utils
import mmengine.utils.package_utils as package_utils
from mmengine.config import Config

from ..errors import InputError

FORKS = {"mmdet": "onedl-mmdetection", "mmseg": "onedl-mmsegmentation"}
PACKAGE = Path(__file__).parent.parent
OURS = "mmvit::"  # before the name of a config of this package


def is_installed(package: str) -> bool:
    """Whether a distribution or an importable package of that name is there."""
    if _has_distribution(package):
        return True
    spec = util.find_spec(package)
    return spec is not None and spec.origin is not None


def package2module(package: str) -> str:
    """Import name of a distribution.

    Raises:
        ValueError: it does not tell.
    """
    top_level = (metadata.distribution(package).read_text("top_level.txt") or "").split()
    if not top_level:
        raise ValueError(f"cannot infer the module name of {package}")
    return top_level[0]


def get_installed_path(package: str) -> str:
    """Folder of a distribution's or package's modules.

    Raises:
        importlib.metadata.PackageNotFoundError: neither is there.
    """
    module = package2module(package) if _has_distribution(package) and util.find_spec(package) is None else package
    spec = util.find_spec(module)
    if spec is None or spec.origin is None:
        raise metadata.PackageNotFoundError(package)
    return str(Path(spec.origin).parent)


def shipped(folder: str) -> Path:
    """Our `configs` or `tools`: inside of an installed package, beside the package of a checkout."""
    inside = PACKAGE / ".mim" / folder
    return inside if inside.is_dir() else PACKAGE.parent / folder


def our_config(name: str) -> Path:
    """File of a config of this package, such as `mmvit::retinanet_pvt_small_coco.py`; prefix and suffix may be left out.

    Raises:
        InputError: there is none of that name; the nearest are suggested.
    """
    folder = shipped("configs")
    name = name.removeprefix(OURS).removesuffix(".py")
    file = folder / f"{name}.py"
    if not file.is_file():
        near = get_close_matches(name, [leaf.stem for leaf in sorted(folder.glob("*.py"))], n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"they lie in {folder}"
        raise InputError(f"mmvit has no config {name}; {hint}")
    return file


def install() -> None:
    """Replaces the functions wherever they were imported to; completes the table of distribution names."""
    if not hasattr(Config._get_cfg_path, "__wrapped__"):
        Config._get_cfg_path = staticmethod(_with_ours(Config._get_cfg_path))
    if util.find_spec("pkg_resources") is None:
        for answer in (is_installed, package2module, get_installed_path):
            _replace(getattr(package_utils, answer.__name__), answer)
    names = mmengine.config.utils.MODULE2PACKAGE
    names.update({module: fork for module, fork in FORKS.items() if _has_distribution(fork)})


def _with_ours(get_cfg_path: Callable) -> Callable:
    """mmengine's way from a base's name to its file and scope. Ours have no scope: their types belong to mmdet and mmseg."""

    @wraps(get_cfg_path)
    def answer(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(OURS):
            return str(our_config(cfg_path)), None
        return get_cfg_path(cfg_path, filename)

    return answer


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
