"""Checkpoints under torch's `weights_only=True`, which refuses every class that was not allowed explicitly.

mmengine's checkpoints hold, besides tensors: `HistoryBuffer` (logged values), NumPy arrays and scalars, and the buffer's four
statistics, pickled as `getattr(HistoryBuffer, name)`. Exactly these are allowed. `getattr` is allowed for exactly this use,
because the real one would reach anything. Two unsafe ways are closed: the forks of mmengine fall back to unsafe unpickling, and
both stacks load from URLs through a function of torch whose default is still unsafe.

Importing torch takes two seconds, so this module does not import it before another one does.
"""

import re
from collections import OrderedDict
from importlib import import_module
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from .imports import when_imported

STATISTICS = ("mean", "max", "min", "current")


def statistic(owner: type, name: str) -> Any:
    """Return a statistic of `HistoryBuffer`, the only use of `getattr` that a checkpoint may make."""
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name not in STATISTICS:
        raise ValueError(f"a checkpoint asks for getattr({owner!r}, {name!r}); only statistics of HistoryBuffer are allowed")
    return getattr(HistoryBuffer, name)


class StandIn:
    """Neutral object that replaces one that training scripts save beside the weights; it keeps nothing of it."""

    def __init__(self, *ignored: Any) -> None:
        pass

    def __setstate__(self, ignored: Any) -> None:
        pass


PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
SETTINGS = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    *(f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in PATHS),  # the latter is Python 3.13's
)
SETTINGS_DICTS = (  # torch's unpickler fills these entry by entry, like a dict or an OrderedDict
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "yacs.config.CfgNode",
    "easydict.EasyDict",
    "addict.addict.Dict",
    "mmcv.utils.config.ConfigDict",
    "mmengine.config.config.ConfigDict",
)


def stand_ins() -> list[Any]:
    """Return the replacements for the settings that training scripts save; the real classes are never used."""
    return [(StandIn, name) for name in SETTINGS] + [(OrderedDict, name) for name in SETTINGS_DICTS]


def allowed() -> list[Any]:
    """Return the harmless classes and functions in mmengine's checkpoints, in the form that torch's unpickler takes.

    NumPy's private module is spelt `numpy.core` in files written by NumPy 1 and `numpy._core` in those of NumPy 2.
    """
    import numpy as np
    from mmengine.logging import HistoryBuffer

    multiarray = import_module("numpy._core.multiarray" if hasattr(np, "_core") else "numpy.core.multiarray")
    named = [
        (function, f"{module}.multiarray.{function.__name__}")
        for function in (multiarray._reconstruct, multiarray.scalar)
        for module in ("numpy.core", "numpy._core")
    ]
    dtypes = sorted({type(np.dtype(kind)) for kind in np.typecodes["AllInteger"] + np.typecodes["Float"] + "?"}, key=repr)
    return [HistoryBuffer, np.ndarray, np.dtype, *dtypes, *named, (statistic, "builtins.getattr")]


def safe_load(file: str | Path | BinaryIO, map_location: Any = "cpu") -> Any:
    """Call `torch.load` with `weights_only=True`, mmengine's harmless classes allowed, and stand-ins for scripts' settings.

    Raises:
        pickle.UnpicklingError: the file holds anything else. Nothing of it was run.
    """
    import torch

    from . import unpickling
    from .versions import SIZED

    listed = serialization()
    known = listed.get_safe_globals()  # the context would remove these again when it ends
    with listed.safe_globals([entry for entry in allowed() + stand_ins() if entry not in known]):
        if not SIZED:
            return unpickling.safe_load(file, map_location)
        return torch.load(file, map_location=map_location, weights_only=True)


def install() -> None:
    """Allow mmengine's classes in torch's safe loading, and make every loader of mmengine use it."""
    when_imported("torch", _allow)
    when_imported("mmengine.runner.checkpoint", _make_safe)


def serialization() -> ModuleType:
    """Return the module with the list of allowed classes: torch's, or before torch 2.6 ours."""
    import torch

    from . import unpickling
    from .versions import LISTS

    return torch.serialization if LISTS else unpickling


def _allow() -> None:
    serialization().add_safe_globals(allowed())


def _make_safe() -> None:
    import mmengine.runner.checkpoint as loaders
    import torch

    from .versions import SIZED

    loaders.load_url = _load_url
    if not SIZED:
        loaders.torch = ModuleType("torch")
        vars(loaders.torch).update(vars(torch), load=_load)
    if hasattr(loaders, "_safe_torch_load"):  # of the forks, which falls back to unsafe loading
        loaders._safe_torch_load = _load


def _load(file: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
    """Load safely, whatever the options say."""
    return safe_load(file, map_location)


def _load_url(url: str, model_dir: str | None = None, map_location: Any = None, **options: Any) -> Any:
    """Replace `torch.hub.load_state_dict_from_url` in mmengine; load safely, whatever the options say."""
    import torch

    from .versions import SIZED

    if SIZED:
        return torch.hub.load_state_dict_from_url(url, model_dir, map_location, **{**options, "weights_only": True})
    name = options.get("file_name") or PurePosixPath(urlsplit(url).path).name
    file = Path(model_dir or Path(torch.hub.get_dir(), "checkpoints"), name)
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        expected = re.search(r"-([a-f0-9]*)\.", name) if options.get("check_hash") else None
        torch.hub.download_url_to_file(url, str(file), expected and expected[1], options.get("progress", True))
    return safe_load(file, map_location)
