"""Trackers of experiments: mmengine's backends that send figures and the config elsewhere, each by one option."""

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, NamedTuple

from mmengine.config import Config

from ..arguments import name_of
from ..errors import InputError


class Tracker(NamedTuple):
    """A tracker: the type of mmengine's backend, and its settings for a project and a run."""

    backend: str
    settings: Callable[[str, str], dict[str, Any]]


TRACKERS = {  # by the names of their options, which are those of the packages that the backends import
    "tensorboard": Tracker("TensorboardVisBackend", lambda project, run: {}),
    "wandb": Tracker("WandbVisBackend", lambda project, run: dict(init_kwargs=dict(project=project, name=run))),
    "mlflow": Tracker("MLflowVisBackend", lambda project, run: dict(exp_name=project, run_name=run)),
    "clearml": Tracker("ClearMLVisBackend", lambda project, run: dict(init_kwargs=dict(project_name=project, task_name=run))),
}


def track(cfg: Config, names: Iterable[str], project: str, run: str) -> None:
    """Add trackers to a config. Raise InputError if there is no such tracker, or its package is not installed."""
    for name in names:
        if name not in TRACKERS:
            raise InputError(f"track has {name!r}. Expected some of {', '.join(TRACKERS)}")
        tracker = TRACKERS[name]
        try:
            import_module(name)
        except ImportError as error:
            raise InputError(f"--{name}: {error}. Get it with pip install {name}") from error
        others = [backend for backend in cfg.visualizer.vis_backends if name_of(backend.get("type")) != tracker.backend]
        cfg.visualizer.vis_backends = [*others, dict(type=tracker.backend, **tracker.settings(project, run))]
