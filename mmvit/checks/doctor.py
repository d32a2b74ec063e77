"""`python -m mmvit doctor [CONFIG]`: checks the installation, and whether a config's run can begin.

Each check prints a line: `ok`, or `FIX` with the problem and its remedy. Nothing is downloaded or written. With `--data` it
opens every image and label map of the config's datasets, which takes minutes for a large one.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from importlib import import_module, metadata, util
from io import StringIO
from traceback import walk_tb
from typing import Any

import torch

from .. import compat
from ..compat import operators
from .findings import Finding, brief, guarded

OFFICIAL = ("mmengine", "mmcv-lite", "mmcv", "mmdet", "mmsegmentation")
FORKS = ("onedl-mmengine", "onedl-mmcv", "onedl-mmdetection", "onedl-mmsegmentation")
PARTS = {name: (f"{name}.models", f"{name}.datasets") for name in ("mmdet", "mmseg")}
EXTRAS = "pip install 'mmvit[openmmlab]' (official) or pip install 'mmvit[onedl]' (maintained forks)"
LEAST_PYTHON, LEAST_TORCH, LEAST_TIMM = (3, 11), (2, 12), (1, 0, 16)
TRANSFORMERS = (4, 52)  # from here on it lacks what mmpretrain 1.2 takes from it


def examine(config: str | None = None, options: Mapping[str, Any] | None = None, data: bool = False) -> Iterator[Finding]:
    """Yield the findings about the installation, about a config if one is named, and about each file of its `data`."""
    for what, check in CHECKS.items():
        yield from guarded(what, check)
    if config is not None:
        yield from guarded("config", examine_config, config, options or {}, data)


def examine_config(config: str, options: Mapping[str, Any], data: bool) -> Iterable[Finding]:
    """Return the findings of `checks.config`, whose imports fail if the installation is broken."""
    from . import config as config_checks

    return config_checks.examine(config, options, data)


def version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def numbers_of(version: str) -> tuple[int, ...]:
    """Return the first three numbers of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def installed(distributions: Sequence[str]) -> dict[str, str]:
    """Return the versions of those distributions that are installed."""
    return {name: found for name in distributions if (found := version(name)) is not None}


def check_python() -> Iterator[Finding]:
    found = sys.version.split()[0]
    least = ".".join(map(str, LEAST_PYTHON))
    ok = sys.version_info >= LEAST_PYTHON
    yield Finding(ok, "python", found if ok else f"{found}; mmvit needs {least} or later: make a virtual environment with it")


def check_torch() -> Iterator[Finding]:
    """Check that torchvision's operators work: its build has to match the build of torch."""
    least = ".".join(map(str, LEAST_TORCH))
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < LEAST_TORCH:
        yield Finding(False, "torch", f"{torch.__version__}; mmvit needs {least} or later: pip install -U torch torchvision")
        return
    try:
        import torchvision

        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except Exception as error:
        advice = "torch and torchvision do not belong together: install both from the same place, pip install torch torchvision"
        yield Finding(False, "torch", f"{torch.__version__}, torchvision {version('torchvision')}: {brief(error)}; {advice}")
        return
    yield Finding(True, "torch", f"{torch.__version__}, torchvision {torchvision.__version__}")


def check_stack() -> Iterator[Finding]:
    official, forks = installed(OFFICIAL), installed(FORKS)
    found = official | forks
    listed = ", ".join(f"{name} {number}" for name, number in found.items())
    remove = f"pip uninstall -y {' '.join(found)}, then {EXTRAS}"
    if official and forks:
        told = f"both stacks are installed and write over each other's files ({listed}). {remove}"
    elif "mmcv" in found and "mmcv-lite" in found:
        told = f"mmcv and mmcv-lite write over each other's files ({listed}). {remove}"
    elif not any("mmcv" in name for name in found):
        told = f"there is no mmcv ({listed or 'nothing of a stack was installed by pip'}). {EXTRAS}"
    elif not any("mmdet" in name or "mmseg" in name for name in found):
        told = f"there is neither mmdet nor mmsegmentation ({listed}). {EXTRAS}"
    else:
        lacking = [name for name in ("mmdet", "mmseg") if not any(name in distribution for distribution in found)]
        without = f"; without {lacking[0]}, whose configs will not run" if lacking else ""
        yield Finding(True, "stack", f"{'maintained forks' if forks else 'official'}: {listed}{without}")
        yield from check_imports(["mmcv", *(name for name in ("mmdet", "mmseg") if name not in lacking)])
        return
    yield Finding(False, "stack", told)


def check_imports(packages: Iterable[str]) -> Iterator[Finding]:
    """Report packages that fail to import, with known fixes."""
    for package in packages:
        try:
            with redirect_stdout(StringIO()):  # where the forks remark on what they lack and do not need
                for module in PARTS.get(package, (package,)):
                    import_module(module)
        except Exception as error:
            told = f"does not import: {brief(error)}"
            if "libGL" in told:
                told += "; pip install --force-reinstall --no-deps opencv-python-headless"
            elif "mmpretrain" in raised_in(error):
                told += f"; {about_mmpretrain()}"
            elif isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("mm"):
                told += f"; install what has it, pip install {error.name.partition('.')[0]} if it is called so"
            yield Finding(False, package, told)


def raised_in(error: BaseException) -> set[str]:
    """Return the top-level packages whose code was running when `error` was raised."""
    frames = (frame for frame, _ in walk_tb(error.__traceback__))
    return {str(frame.f_globals.get("__name__")).partition(".")[0] for frame in frames}


def about_mmpretrain() -> str:
    """Explain why mmpretrain, which mmdet imports if it is installed, stops mmdet from importing, and return the remedy.

    If transformers lacks the names that it imports, mmpretrain 1.2 replaces them by None and derives classes from it. mmdet
    continues without mmpretrain after an ImportError, but this is a TypeError. It was seen to import with transformers 4.48
    to 4.50, and to fail with 4.55, 4.57 and 5.24.
    """
    transformers = version("transformers")
    found = f"mmpretrain {version('mmpretrain')}"
    if transformers is None or numbers_of(transformers) < TRANSFORMERS:
        return f"the error is raised inside of {found}; if you do not use it: pip uninstall -y mmpretrain"
    return (
        f"{found}, which is imported with it, does not work with transformers {transformers}: pip install "
        f"'transformers<{'.'.join(map(str, TRANSFORMERS))}', or, if you do not use mmpretrain: pip uninstall -y mmpretrain"
    )


def check_timm() -> Iterator[Finding]:
    found = version("timm")
    if found is None or numbers_of(found) < LEAST_TIMM:
        least = ".".join(map(str, LEAST_TIMM))
        yield Finding(False, "timm", f"{found}; mmvit needs {least} or later: pip install -U timm")
        return
    import_module("timm.layers")
    yield Finding(True, "timm", found)


def check_compat() -> Iterator[Finding]:
    setting = os.environ.get(compat.SWITCH)
    if setting == "0":
        told = "resuming mmengine's checkpoints fails, and operators are not supplied"
        yield Finding(False, "compat", f"switched off by {compat.SWITCH}=0: {told}; unset it, unless you mean it")
    else:
        yield Finding(True, "compat", "on")


def check_operators() -> Iterator[Finding]:
    """Report which `mmcv._ext` is in use."""
    if operators.is_supplied():
        yield Finding(True, "operators", "supplied by mmvit, from torchvision and plain torch; mmcv is not compiled")
        return
    spec = util.find_spec(operators.NAME)
    if spec is None:
        told = f"mmcv is not compiled, and nothing stands for it; unset {compat.SWITCH}, or install a compiled mmcv"
        yield Finding(False, "operators", told)
    else:
        import_module(operators.NAME)
        yield Finding(True, "operators", f"compiled: {spec.origin}")


def check_device() -> Iterator[Finding]:
    if not torch.cuda.is_available():
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        yield Finding(
            True, "device", f"CPU with {cores} cores, of which torch uses {torch.get_num_threads()}; no GPU that torch can use"
        )
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(index)
        told = f"GPU {index}: {about.name}, {about.total_memory / 2**30:.0f} GiB"
        try:
            torch.ones(1, device=f"cuda:{index}").add(1).item()
        except RuntimeError as error:
            told += f" cannot compute: {brief(error)}; install the torch that was built for this GPU and its driver"
            yield Finding(False, "device", told)
        else:
            yield Finding(True, "device", told)


CHECKS: dict[str, Callable[[], Iterable[Finding]]] = {
    "python": check_python,
    "torch": check_torch,
    "stack": check_stack,
    "timm": check_timm,
    "compat": check_compat,
    "operators": check_operators,
    "device": check_device,
}
