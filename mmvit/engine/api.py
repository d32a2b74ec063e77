"""Training and evaluation as functions: what `mmvit.train` and `mmvit.evaluate` are."""

from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, get_args

import numpy as np

from ..errors import InputError, nearest
from .configuration import Launcher, TestOptions, TrainOptions
from .launch import test
from .launch import train as launch
from .precision import Amp
from .results import Results
from .trackers import TRACKERS

EXPECTED: dict[str, tuple[Any, str]] = {  # values or the type of options that the command line checks by itself
    "amp": (get_args(Amp), f"True or {', '.join(get_args(Amp))}"),
    "launcher": (get_args(Launcher), ", ".join(get_args(Launcher))),
    "resume": (str, "True for the newest checkpoint of the work dir, or a path"),
    "minutes": (Real, "a number"),
    "cfg_options": (Mapping, "a dict such as {'optim_wrapper.optimizer.lr': 1e-4}"),
    "track": (Sequence, f"some of {', '.join(TRACKERS)}"),
}


def train(config: str | Path, **options: Any) -> Results:
    """Train the model of a config and return the results: figures of each validation, the best and the newest checkpoint.

    Args:
        config: a file, the name of one of our configs, or the folder of a project.
        options: fields of `TrainOptions`, such as epochs, batch_size, image_size, lr, data_root, work_dir, resume.

    Raises:
        InputError: an unknown option, or a file, key or value that is wrong.
    """
    return launch(_made(TrainOptions, config=config, **options))


def evaluate(config: str | Path, checkpoint: str | Path | None = None, **options: Any) -> Mapping[str, float]:
    """Evaluate a checkpoint on the test data of a config and return the figures.

    Args:
        config: a file, the name of one of our configs, or the folder of a project.
        checkpoint: a file or an address; None for the best of the work dir.
        options: fields of `TestOptions`, such as data_root, tta, work_dir, out.

    Raises:
        InputError: as above.
    """
    figures = test(_made(TestOptions, config=config, checkpoint=checkpoint, **options))
    return {name: figure.item() if isinstance(figure, np.generic) else figure for name, figure in figures.items()}


def _made(kind: Any, **options: Any) -> Any:
    for name in options:
        if name not in kind.__dataclass_fields__:
            raise InputError(f"option {name}: unknown; {nearest(name, kind.__dataclass_fields__)}")
    for name in ("work_dir", "out", "show_dir"):
        if isinstance(options.get(name), str):
            options[name] = Path(options[name])
    for name in ("resume", "amp"):
        if isinstance(options.get(name), bool):  # as --resume alone, and as nothing
            options[name] = "auto" if options[name] else None
    if isinstance(options.get("resume"), Path):
        options["resume"] = str(options["resume"])
    if isinstance(options.get("track"), str):
        options["track"] = [options["track"]]
    for name, (kinds, expected) in EXPECTED.items():
        value = options.get(name)
        if value is not None and not (value in kinds if isinstance(kinds, tuple) else isinstance(value, kinds)):
            raise InputError(f"option {name}: {value!r}. Expected {expected}")
    return kind(**options)
