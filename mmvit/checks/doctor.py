"""`python -m mmvit doctor [CONFIG]`: checks the installation, and whether a config's run can begin.

It prints the findings of all checks, each with its verdict: ok, wrong, doubtful, not checked. Nothing is downloaded or written.
With `--data` it opens every image and label map of the config's datasets, which takes minutes for a large one.
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
from ..compat.systems import cores, inference_core, processor
from ..compat.versions import lacking
from ..errors import brief, counted
from ..layers.forms import choices, fastest_precision
from .findings import Finding, guarded, ok, wrong

OFFICIAL = ("mmengine", "mmcv-lite", "mmcv", "mmdet", "mmsegmentation")
FORKS = ("onedl-mmengine", "onedl-mmcv", "onedl-mmdetection", "onedl-mmsegmentation")
PARTS = {name: (f"{name}.models", f"{name}.datasets") for name in ("mmdet", "mmseg")}
EXTRAS = "pip install 'mmvit[openmmlab]' (official) or pip install 'mmvit[onedl]' (maintained forks)"
LEAST_TORCH, LEAST_TIMM = (2, 1, 2), (1, 0, 16)
OPENVINO = dict(FP32="float32", BF16="bfloat16", FP16="float16", INT8="int8")  # its names of precisions
TRANSFORMERS = (4, 52)  # from here on it lacks what mmpretrain 1.2 takes from it


def examine(
    config: str | None = None, options: Mapping[str, Any] | None = None, data: bool = False, root: str | None = None
) -> Iterator[Finding]:
    """Yield the findings about the installation, about a config if one is named, and about each file of its `data`.

    Args:
        root: another copy of the config's data.
    """
    for what, check in CHECKS.items():
        yield from guarded(what, check, unforeseen="wrong")
    if config is not None:
        yield from guarded("config", examine_config, config, options or {}, data, root, unforeseen="wrong")


def examine_config(config: str, options: Mapping[str, Any], data: bool, root: str | None = None) -> Iterator[Finding]:
    """Yield the findings of the checks of a config, whose imports fail if the installation is broken."""
    from ..config.datasets import SPLITS
    from ..config.files import open_config
    from ..config.roots import set_data_root
    from . import table
    from .plan import Plan

    cfg = open_config(config, options)
    if root is not None:
        yield ok(set_data_root(cfg, root), subject="data")
    if not isinstance(cfg.get("model"), dict):
        yield wrong(f"{cfg.filename} has no model", "Name a complete config, not one of its bases")
        return
    yield ok(cfg.filename)
    splits = tuple(split for split in SPLITS if cfg.get(f"{split}_dataloader"))
    yield from table.examine(Plan(cfg, splits), table.DATA if data else table.DOCTOR)


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
    yield ok(sys.version.split()[0])


def check_torch() -> Iterator[Finding]:
    """Check that torchvision's operators work: its build has to match the build of torch."""
    least = ".".join(map(str, LEAST_TORCH))
    if numbers_of(torch.__version__) < LEAST_TORCH:
        yield wrong(f"{torch.__version__}; mmvit needs {least} or later: pip install -U torch torchvision")
        return
    try:
        import torchvision

        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except Exception as error:
        advice = "torch and torchvision do not belong together: install both from the same place, pip install torch torchvision"
        yield wrong(f"{torch.__version__}, torchvision {version('torchvision')}: {brief(error)}; {advice}")
        return
    yield ok(f"{torch.__version__}, torchvision {torchvision.__version__}")
    if absent := lacking():
        yield ok(f"not in this version: {', '.join(absent)}")


def check_stack() -> Iterator[Finding]:
    official, forks = installed(OFFICIAL), installed(FORKS)
    found = official | forks
    listed = ", ".join(f"{name} {number}" for name, number in found.items())
    remove = f"pip uninstall -y {' '.join(found)}, then {EXTRAS}"
    if official and forks:
        text = f"both stacks are installed and write over each other's files ({listed}). {remove}"
    elif "mmcv" in found and "mmcv-lite" in found:
        text = f"mmcv and mmcv-lite write over each other's files ({listed}). {remove}"
    elif not any("mmcv" in name for name in found):
        text = f"there is no mmcv ({listed or 'nothing of a stack was installed by pip'}). {EXTRAS}"
    elif not any("mmdet" in name or "mmseg" in name for name in found):
        text = f"there is neither mmdet nor mmsegmentation ({listed}). {EXTRAS}"
    else:
        lacking = [name for name in ("mmdet", "mmseg") if not any(name in distribution for distribution in found)]
        without = f"; without {lacking[0]}, whose configs will not run" if lacking else ""
        yield ok(f"{'maintained forks' if forks else 'official'}: {listed}{without}")
        yield from check_imports(["mmcv", *(name for name in ("mmdet", "mmseg") if name not in lacking)])
        return
    yield wrong(text)


def check_imports(packages: Iterable[str]) -> Iterator[Finding]:
    """Report packages that fail to import, with known fixes."""
    for package in packages:
        try:
            with redirect_stdout(StringIO()):  # where the forks remark on what they lack and do not need
                for module in PARTS.get(package, (package,)):
                    import_module(module)
        except Exception as error:
            text = f"does not import: {brief(error)}"
            if "libGL" in text:
                text += "; pip install --force-reinstall --no-deps opencv-python-headless"
            elif "mmpretrain" in raised_in(error):
                text += f"; {about_mmpretrain()}"
            elif isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("mm"):
                text += f"; install what has it, pip install {error.name.partition('.')[0]} if it is called so"
            yield wrong(text, subject=package)


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
        yield wrong(f"{found}; mmvit needs {least} or later: pip install -U timm")
        return
    import_module("timm.layers")
    yield ok(found)


def check_compat() -> Iterator[Finding]:
    setting = os.environ.get(compat.SWITCH)
    if setting == "0":
        text = "resuming mmengine's checkpoints fails, and operators are not supplied"
        yield wrong(f"switched off by {compat.SWITCH}=0: {text}; unset it, unless you mean it")
    else:
        yield ok("on")


def check_operators() -> Iterator[Finding]:
    """Report which `mmcv._ext` is in use."""
    if operators.is_supplied():
        yield ok("supplied by mmvit, from torchvision and plain torch; mmcv is not compiled")
        return
    spec = util.find_spec(operators.NAME)
    if spec is None:
        text = f"mmcv is not compiled, and nothing stands for it; unset {compat.SWITCH}, or install a compiled mmcv"
        yield wrong(text)
    else:
        import_module(operators.NAME)
        yield ok(f"compiled: {spec.origin}")


def check_device() -> Iterator[Finding]:
    if not torch.cuda.is_available():
        threads = f"{counted(cores(), 'core')}, of which torch uses {torch.get_num_threads()}"
        yield ok(f"{processor()}, {threads}; no GPU that torch can use")
        return
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        text = f"GPU {index}: {about.name}, {about.total_memory / 2**30:.0f} GiB"
        try:
            torch.ones(1, device=f"cuda:{index}").add(1).item()
        except RuntimeError as error:
            text += f" cannot compute: {brief(error)}; install the torch that was built for this GPU and its driver"
            yield wrong(text)
        else:
            yield ok(text)


def check_forms() -> Iterator[Finding]:
    """Report which of two forms of a computation runs on this machine, and which of them the environment fixes."""
    rows = [row for row in choices() if row.device == "cpu" or torch.cuda.is_available()]
    inference, training = [row.form for row in rows if row.inference], [row.form for row in rows if row.training]
    fixed = [row.reason for row in rows if row.reason.startswith(row.variable)]
    text = f"in inference {', '.join(inference) or 'plain ones'}; in training {', '.join(training) or 'plain ones'}"
    yield ok(f"{text}{'; fixed by ' if fixed else ''}{', '.join(fixed)}")


def check_precision() -> Iterator[Finding]:
    """Report what `--precision auto` and `--amp` come to on this machine, and what OpenVINO can compute in."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    text = f"auto is {fastest_precision(device)} for checkpoints and {fastest_precision(device, training=True)} in training"
    if util.find_spec("openvino"):
        types = inference_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        text += f"; OpenVINO computes in {', '.join(OPENVINO[name] for name in types if name in OPENVINO)}"
    yield ok(text)


CHECKS: dict[str, Callable[[], Iterable[Finding]]] = {
    "python": check_python,
    "torch": check_torch,
    "stack": check_stack,
    "timm": check_timm,
    "compat": check_compat,
    "operators": check_operators,
    "device": check_device,
    "forms": check_forms,
    "precision": check_precision,
}
