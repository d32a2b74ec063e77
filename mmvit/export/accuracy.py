"""Accuracy that an exported file of less precision loses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..measure.accuracy import validation
from ..predict.runner import Runner
from ..predict.sessions import Session
from .models import Exportable

MOST = 200  # images in a comparison


def loss(exportable: Exportable, file: Path) -> str:
    """Return a sentence about the accuracy that a file of less precision loses on the test images, or why it is not known."""
    if exportable.config is None:
        return "the loss of accuracy of a backbone alone is not known"
    try:
        data = validation(exportable.config, MOST)
        model = Session(eager(exportable.program), dict(exportable.metadata, size=None, batch=1))
        before, after = (data.figures(map(Runner(one, 0.0, "cpu"), data.paths)) for one in (model, file))
    except InputError as error:
        return f"its loss of accuracy is not known, because there are no test data: {error}"
    words = ", ".join(f"{name} {before[name]:.4f} -> {after[name]:.4f} ({after[name] - before[name]:+.4f})" for name in before)
    return f"{words} on {len(data.paths)} test images"


def eager(program: Any) -> Callable[[dict[str, np.ndarray]], list[np.ndarray]]:
    """Return a program as a function from inputs by name to a list of outputs, like an opened file."""

    def run(feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        with torch.no_grad():
            found = program(*(torch.from_numpy(feed[name]) for name in program.inputs))
        return [tensor.numpy() for tensor in (found if isinstance(found, tuple) else (found,))]

    return run
