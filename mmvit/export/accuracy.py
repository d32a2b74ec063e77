"""Accuracy that an exported file of less precision loses."""

from pathlib import Path

from ..errors import InputError
from ..measure.accuracy import validation
from ..predict.runner import Runner
from ..predict.sessions import Session, by_name
from .models import Exportable

MOST = 200  # images in a comparison


def loss(exportable: Exportable, file: Path) -> str:
    """Return a sentence about the accuracy that a file of less precision loses on the test images, or why it is not known."""
    if exportable.config is None:
        return "the loss of accuracy of a backbone alone is not known"
    try:
        data = validation(exportable.config, MOST)
    except InputError as error:
        return f"its loss of accuracy is not known, because there are no test data: {error}"
    try:
        model = Session(by_name(exportable.program, exportable.program.inputs), dict(exportable.metadata, size=None, batch=1))
        after, before = (data.figures(map(Runner(one, 0.0, "cpu"), data.paths)) for one in (file, model))
    except InputError as error:
        return f"its loss of accuracy is not known, because the test images cannot be used: {error}"
    words = ", ".join(f"{name} {before[name]:.4f} -> {after[name]:.4f} ({after[name] - before[name]:+.4f})" for name in before)
    return f"{words} on {len(data.paths)} test images"
