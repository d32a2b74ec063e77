"""Trackers of experiments: mmengine's backends that send figures and the config elsewhere, each by one option."""

from importlib import import_module
from typing import Any, NamedTuple

from mmengine.config import Config

from ..errors import InputError


class Tracker(NamedTuple):
    """A tracker: the type of mmengine's backend, the package that it imports, and its settings by project and run."""

    backend: str
    package: str
    settings: dict[str, Any]


def trackers(project: str, run: str) -> dict[str, Tracker]:
    """Return the trackers by the names of their options."""
    return {
        "tensorboard": Tracker("TensorboardVisBackend", "tensorboard", {}),
        "wandb": Tracker("WandbVisBackend", "wandb", dict(init_kwargs=dict(project=project, name=run))),
        "mlflow": Tracker("MLflowVisBackend", "mlflow", dict(exp_name=project, run_name=run)),
        "clearml": Tracker("ClearMLVisBackend", "clearml", dict(init_kwargs=dict(project_name=project, task_name=run))),
    }


def track(cfg: Config, names: list[str], project: str, run: str) -> None:
    """Add trackers to a config.

    Raises:
        InputError: the package of one is not installed.
    """
    known = trackers(project, run)
    for name in names:
        tracker = known[name]
        try:
            import_module(tracker.package)
        except ImportError as error:
            raise InputError(f"--{name}: {error}. Get it with pip install {tracker.package}") from error
        others = [backend for backend in cfg.visualizer.vis_backends if backend.get("type") != tracker.backend]
        cfg.visualizer.vis_backends = [*others, dict(type=tracker.backend, **tracker.settings)]
