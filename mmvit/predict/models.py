"""From config and checkpoint to a model that predicts."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import MODELS, DefaultScope
from mmengine.utils import import_modules_from_strings
from torch import nn

from ..checks.dataset import LOADERS, classes_of, name_of
from ..data.images import LoadImage
from ..errors import CheckpointError, InputError
from ..recipes.files import config_file, load_config
from ..weights.archives import read_checkpoint
from ..weights.downloads import fetch
from ..weights.loading import read_state, require_match
from .texts import read_config

READERS = ("LoadImage", "LoadImageFromFile")


class Loaded(NamedTuple):
    """A model on its device, in evaluation mode, and what belongs to it.

    Attributes:
        model: of mmdet or mmseg, or one that merges the views of test-time augmentation.
        scope: `mmdet` or `mmseg`.
        read: the step that reads an image file.
        prepare: the steps after it.
        classes: names of the classes.
        palette: a colour (red, green, blue) for each class, or None.
    """

    model: Any
    scope: str
    read: LoadImage
    prepare: Compose
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] | None


def load(config: str | Path | Config | None, checkpoint: str | Path, device: torch.device, tta: bool = False) -> Loaded:
    """Build the model of a config, or of a checkpoint's own, with the weights of a checkpoint.

    Args:
        config: a file, the name of one of our configs, a config, or None for the one in the checkpoint, which is read as data.
        checkpoint: path or URL of a file of a training.
        device: where the model goes.
        tta: test-time augmentation, as the config describes it.

    Raises:
        InputError: no such config, or a config that has no test pipeline or no test-time augmentation.
        CheckpointError: unreadable, another model's, or without the config that is to be taken from it.
    """
    meta = meta_of(checkpoint)
    cfg = _config(config, meta, str(checkpoint))
    scope = cfg.get("default_scope")
    pipeline = cfg.get("tta_pipeline") if tta else cfg.test_dataloader.dataset.get("pipeline")
    if not pipeline or (tta and not cfg.get("tta_model")):
        raise InputError(
            f"{config or checkpoint}: the config has no {'tta_model and tta_pipeline' if tta else 'test pipeline'}"
        )
    with DefaultScope.overwrite_default_scope(scope):
        import_modules_from_strings([f"{scope}.registry", f"{scope}.datasets", f"{scope}.models"])
        model = MODELS.build(deepcopy(cfg.model))
        _fill(model, checkpoint)
        if tta:
            model = MODELS.build(dict(deepcopy(cfg.tta_model), module=model))
        steps = without_annotations(pipeline)
        options = _reader(steps, str(config or checkpoint))
        classes, palette = classes_and_palette(meta, cfg)
        prepare = Compose(steps[1:])
    return Loaded(model.to(device).eval(), scope, LoadImage(**options), prepare, classes, palette)


def meta_of(checkpoint: str | Path) -> Mapping[str, Any]:
    """Return what mmengine notes in a checkpoint beside the weights; empty in files of others."""
    content = read_checkpoint(fetch(checkpoint), checkpoint)
    meta = content.get("meta") if isinstance(content, Mapping) else None
    return meta if isinstance(meta, Mapping) else {}


def _config(config: str | Path | Config | None, meta: Mapping[str, Any], checkpoint: str) -> Config:
    if isinstance(config, Config):
        return config
    if config is not None:
        return load_config(config_file(str(config)))
    if not isinstance(text := meta.get("cfg"), str):
        raise CheckpointError(f"{checkpoint}: there is no config in it. Give one: mmvit predict CONFIG CHECKPOINT ...")
    return read_config(text, checkpoint)


def _fill(model: nn.Module, checkpoint: str | Path) -> None:
    state = {name.removeprefix("module."): value for name, value in read_state(checkpoint).items()}
    require_match(model, state, str(checkpoint))
    model.load_state_dict(state)


def without_annotations(steps: Any) -> Any:
    """Return a pipeline without the steps that read annotations; views that had nothing else go, too."""
    if isinstance(steps, Mapping):
        return {key: without_annotations(value) if key == "transforms" else value for key, value in steps.items()}
    if not isinstance(steps, list | tuple):
        return steps
    kept = [step for step in steps if not (isinstance(step, Mapping) and name_of(step.get("type")) in LOADERS)]
    return [inner for step in kept if (inner := without_annotations(step)) != []]


def _reader(steps: list[dict], source: str) -> dict[str, Any]:
    first = steps[0] if steps else {}
    if name_of(first.get("type")) not in READERS:
        raise InputError(f"{source}: its test pipeline begins with {first.get('type')}. Expected {' or '.join(READERS)}")
    return {key: value for key, value in first.items() if key not in ("type", "backend_args", "file_client_args", "_scope_")}


def classes_and_palette(
    meta: Mapping[str, Any], cfg: Config
) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...] | None]:
    """Return names and colours of the classes from a checkpoint's `dataset_meta`, or else from the config's dataset."""
    told = meta.get("dataset_meta")
    told = {str(key).lower(): value for key, value in told.items()} if isinstance(told, Mapping) else {}
    classes, palette = told.get("classes"), told.get("palette")
    if not isinstance(classes, list | tuple):
        classes = classes_of(cfg.test_dataloader.dataset, cfg.get("default_scope"))
    try:
        colours = tuple((int(red), int(green), int(blue)) for red, green, blue in palette or ())
    except (TypeError, ValueError):  # a name of a palette, such as 'random'
        colours = ()
    good = len(colours) >= len(classes) and all(0 <= part <= 255 for colour in colours for part in colour)
    return tuple(map(str, classes)), colours if good and colours else None
