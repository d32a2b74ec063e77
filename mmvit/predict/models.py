"""Building a model for prediction from a config and a checkpoint."""

import json
import re
import warnings
from collections.abc import Mapping
from copy import deepcopy
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import msgspec
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmengine.registry import MODELS, DefaultScope
from mmengine.utils import import_modules_from_strings

from ..arguments import name_of
from ..compat.systems import fastest_device
from ..compat.texts import plain_values, read_config, text_of
from ..config.datasets import DatasetView, datasets_of
from ..config.files import open_config
from ..config.parts import entry_of, is_ours
from ..config.sizes import other_sizes
from ..config.unlabelled import without_annotations
from ..config.windows import windows_fault
from ..data.bands import LoadBands
from ..data.images import LoadImage
from ..errors import CheckpointError, InputError, brief, counted
from ..weights.archives import implausible, plain, read_checkpoint
from ..weights.downloads import fetch
from ..weights.loading import require_match
from ..weights.published import config_of
from ..weights.whole import use_threshold, whole_of
from .sources import warn

BUILDING = Lock()  # what is one for all threads, such as mmengine's default scope
READERS = {"LoadImage": LoadImage, "LoadImageFromFile": LoadImage, "LoadBands": LoadBands}


class Category(msgspec.Struct):
    """A category of COCO's format."""

    id: int
    name: str


class Annotations(msgspec.Struct):
    """What is read of a file in COCO's format: without its images, a few hundredths of a second."""

    categories: list[Category]


class Loaded(NamedTuple):
    """A model on its device, in evaluation mode, with its reading steps and classes."""

    model: Any  # a model of mmdet or mmseg, or one that merges the views of test-time augmentation
    scope: str  # `mmdet` or `mmseg`
    read: LoadImage | LoadBands  # the step that reads an image file
    prepare: Compose  # the steps after it
    classes: tuple[str, ...]  # names of the classes
    palette: tuple[tuple[int, int, int], ...] | None  # a colour (red, green, blue) for each class, or None
    category_ids: tuple[int, ...] | None  # ids of the classes in the file of the training, or None if they are not known
    config: Config  # the config that the model was built from

    @property
    def digest(self) -> str:
        """The digest of the config with its bases, without the addresses of functions in it."""
        return sha256(re.sub(" at 0x[0-9a-fA-F]+", "", str(list(self.config.items()))).encode()).hexdigest()

    def require_channels(self, name: str, inputs: Any) -> None:
        """Raise InputError if an image (C, h, w), or a list of its views, has other channels than the backbone says."""
        found = len(inputs[0] if isinstance(inputs, list) else inputs)
        backbone = self.config.model.get("backbone", {})
        wanted = backbone.get("in_channels", 3 if is_ours(backbone) else found)
        if found != wanted:
            raise InputError(f"image {name}: {counted(found, 'channel')}. Expected {wanted}, as the model was trained with")


def load(config: str | Path | Config | None, checkpoint: str | Path, device: torch.device, tta: bool = False) -> Loaded:
    """Build the model of a config, or of a checkpoint's own, with the weights of a checkpoint.

    Args:
        config: a file, the name of one of our configs, a config, or None for the one in the checkpoint, which is read as data.
        checkpoint: path or URL of a checkpoint of a training.
        tta: whether to use the config's test-time augmentation.

    Raises:
        InputError: there is no such config, or it has no test pipeline or no test-time augmentation.
        CheckpointError: the checkpoint is unreadable, another model's, or lacks a config and none was given.
    """
    path = fetch(checkpoint)
    content = read_checkpoint(path, checkpoint)
    with BUILDING:  # Python 3.11 counts the depth of parsed source for all threads at once, and raises SystemError
        cfg = _config(config or config_of(str(checkpoint)), content, str(checkpoint))
    source, scope = str(getattr(config, "filename", config) or checkpoint), cfg.get("default_scope")
    if scope not in ("mmdet", "mmseg"):
        raise InputError(f"{source}: default_scope is {scope!r}. Expected mmdet or mmseg")
    if scope == "mmseg" and (fault := windows_fault(cfg.model)):
        raise InputError(f"{source}: {fault}")
    with BUILDING, DefaultScope.overwrite_default_scope(scope):
        import_modules_from_strings([f"{scope}.registry", f"{scope}.datasets", f"{scope}.models"])
        read, steps = steps_of_test(cfg, tta, source)
        model = _built(cfg.model)
        whole = whole_of(content, path, checkpoint, model)
        require_match(model, whole.state, str(checkpoint))
        model.load_state_dict(whole.state)
        use_threshold(model, whole.meta)
        if fault := implausible(whole.state, checkpoint):
            warn(fault)
        if others := other_sizes(cfg, plain_values(text_of(content), ("test_dataloader",))):
            warn(f"{checkpoint}: {others}. Without a config before it, the checkpoint's own is used")
        if tta:
            model = MODELS.build(dict(deepcopy(cfg.tta_model), module=model))
        noted, dataset = dataset_meta(content), _tested(cfg)
        classes, palette = classes_and_palette(noted, dataset, scope)
        ids = ids_of_categories(noted, classes, dataset)
        return Loaded(model.to(device).eval(), scope, read, Compose(steps), classes, palette, ids, cfg)


def require_results(config: Config, source: str) -> None:
    """Raise InputError if a model gives neither objects nor a label map, but panoptic segmentation alone."""
    test = config.model.get("test_cfg") or {}
    if config.get("default_scope") == "mmdet" and "panoptic_fusion_head" in config.model and not test.get("instance_on"):
        raise InputError(
            f"{source}: a model of panoptic segmentation, which gives no objects as its config is. For those of MaskFormer and "
            "Mask2Former, set model.test_cfg.instance_on=True in a config, and name that before the checkpoint"
        )


def _built(config: ConfigDict) -> Any:
    with warnings.catch_warnings():  # of mmdet and mmseg, about calls of their own
        warnings.filterwarnings("ignore", module=r"mm(det|seg|cv|engine)\.")
        return MODELS.build(deepcopy(config))


def steps_of_test(cfg: Config, tta: bool, source: str) -> tuple[LoadImage | LoadBands, list[dict]]:
    """Return the step of the test pipeline that reads a file, built, and those after it, without annotations.

    Raises:
        InputError: there is none, or it does not begin with such a step.
    """
    pipeline = cfg.get("tta_pipeline") if tta else _tested(cfg).get("pipeline")
    if not pipeline or (tta and not cfg.get("tta_model")):
        raise InputError(f"{source}: the config has no {'tta_model and tta_pipeline' if tta else 'test pipeline'}")
    first, *rest = without_annotations(pipeline)
    if name_of(first.get("type")) not in READERS:
        raise InputError(f"{source}: its test pipeline begins with {first.get('type')}. Expected {' or '.join(READERS)}")
    options = {key: value for key, value in first.items() if key not in ("type", "backend_args", "file_client_args", "_scope_")}
    return READERS[name_of(first["type"])](**options), rest


def _tested(cfg: Config) -> ConfigDict:
    """Return the dataset of the test; of several, the first."""
    return next((view.config for view in datasets_of(cfg, ("test",))), ConfigDict())


def _config(config: str | Path | Config | None, content: Any, checkpoint: str) -> Config:
    if isinstance(config, Config):
        return config
    if config is not None:
        return open_config(config)
    if (text := text_of(content)) is None:
        raise CheckpointError(f"{checkpoint}: there is no config in it. Give one: mmvit predict CONFIG CHECKPOINT ...")
    return read_config(text, checkpoint)


def classes_and_palette(
    noted: Mapping[str, Any], dataset: ConfigDict, scope: str
) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...] | None]:
    """Return the names and colours of the classes, from a checkpoint's `dataset_meta` or else from the config's dataset."""
    classes, palette = noted.get("classes"), noted.get("palette")
    if not isinstance(classes, list | tuple):
        classes = DatasetView("test_dataloader.dataset", dataset, scope).classes()
    try:
        colours = tuple((int(red), int(green), int(blue)) for red, green, blue in palette or ())
    except (TypeError, ValueError):  # a name of a palette, such as 'random'
        colours = ()
    good = len(colours) == len(classes) and all(0 <= part <= 255 for colour in colours for part in colour)
    return tuple(map(str, classes)), colours if good and colours else None


def ids_of_categories(noted: Mapping[str, Any], classes: tuple[str, ...], dataset: ConfigDict) -> tuple[int, ...] | None:
    """Return the ids of the classes that a training noted in its checkpoint, or else those of the config's annotation file."""
    ids = noted.get("category_ids")
    if isinstance(ids, list | tuple) and len(ids) == len(classes) and all(isinstance(one, int) for one in ids):
        return tuple(ids)
    file = Path(str(dataset.get("data_root") or ""), str(dataset.get("ann_file") or ""))
    if file.suffix != ".json" or not file.is_file():
        return None
    try:
        content = msgspec.json.decode(file.read_bytes(), type=Annotations)
    except msgspec.MsgspecError:
        return None
    found = [entry.id for entry in content.categories if entry.name in classes]  # in the file's order, like mmdet's labels
    if name_of(dataset.get("type")) == "Objects365V1Dataset":
        found.sort()
    return tuple(found) if len(found) == len(classes) else None


def dataset_meta(content: Any) -> dict[str, Any]:
    """Return what a checkpoint notes about its dataset, with keys in small letters and without arrays and tensors."""
    noted = entry_of(content, "meta.dataset_meta")  # mmengine's files have it
    return {str(key).lower(): _listed(value) for key, value in noted.items()} if isinstance(noted, Mapping) else {}


def _listed(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value, default=plain))
    except (TypeError, ValueError, RecursionError):  # nothing that this package reads
        return None


def torch_device(name: str) -> torch.device:
    """Return a device by its name; `auto` is the GPU if there is one. Raise InputError if this machine has no such device."""
    if name == "auto":
        name = fastest_device()
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name}: {brief(error)}. Expected auto, cpu, cuda or cuda:1") from error
    return device
