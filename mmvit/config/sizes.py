"""The size of images: `--image-size`, which multiplies all sizes of the pipelines and of the model by one factor."""

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

from mmengine.config import Config

from ..arguments import name_of
from ..errors import InputError, first_few
from .datasets import SPLITS
from .parts import entry_of, mappings, models_of, plain

STEP_SIZES = ("scale", "scales", "img_scale", "img_scales", "crop_size", "size", "max_size", "border")
OPAQUE = ("Albu", "Albumentation")  # steps whose options are another package's
MULTIPLE = 32  # of mmdet's BatchSyncRandomResize
LARGEST = 1e6  # a side beyond it means: as long as it will be


class Sizes:
    """Sizes of a config that are multiplied in place, each part once, however often the config names it."""

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.seen: dict[Any, Any] = {}
        self.changed: dict[str, None] = {}

    def multiply(self, part: Any, names: tuple[str, ...], multiple: int = 1) -> int:
        """Multiply the entries of one part of the config; return how many changed."""
        if not isinstance(part, dict) or (id(part), names) in self.seen:
            return 0
        self.seen[id(part), names] = part  # kept, so that no other part gets its id
        count = 0
        for name in names:
            old = part.get(name)
            if old is not None and not isinstance(old, str | Mapping) and (new := self._times(old, multiple)) != old:
                part[name] = new
                count += 1
                whose = f"{name_of(part['type'])}." if "type" in part else ""
                self.changed[f"{whose}{name} {_said(old)} -> {_said(new)}"] = None
        return count

    def _times(self, value: Any, multiple: int) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(self._times(entry, multiple) for entry in value)
        fixed = isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value)
        if fixed or value == -1 or abs(value) > LARGEST or (isinstance(value, float) and abs(value) <= 1):
            return value
        return multiple * round(value * self.factor / multiple)


def set_image_size(cfg: Config, side: int) -> str:
    """Give images another size, and say what changed.

    `side` is the shorter side of the crop (of `data_preprocessor.size`), or else of the resized image of validation. All other
    sizes keep their relation to it.

    Raises:
        InputError: the config has no such size, or a network for one size.
    """
    model = cfg.get("model") or {}
    for key, part in models_of(model):
        if fixed := [name for name in part if any("input_size" in inner for inner in mappings(part[name]))]:
            raise InputError(
                f"--image-size: {key}.{fixed[0]} is built for one size of images (input_size); change it in a config"
            )
    old = _reference(cfg)
    if old is None:
        raise InputError(
            f"--image-size: {cfg.filename} resizes or crops to no fixed size; expected a step such as Resize(scale=...)"
        )
    sizes = Sizes(side / old)
    trained = sum(sizes.multiply(step, STEP_SIZES) for step in _steps(_pipelines(cfg, ("train",))))
    if not trained and side != old:
        raise InputError(f"--image-size: no step of train_dataloader.dataset.pipeline in {cfg.filename} has a fixed size")
    for step in _steps(_pipelines(cfg, SPLITS)):
        sizes.multiply(step, STEP_SIZES)
    for part in (model, *(part for _, part in models_of(model))):
        _fit_model(sizes, part)
    return first_few(list(sizes.changed), 6) if sizes.changed else f"images have this size already ({old})"


def other_sizes(cfg: Mapping[str, Any], trained: Mapping[str, Any]) -> str:
    """Return which sizes of a config's test pipeline differ from those of the config of a checkpoint; empty if none does.

    So a project does that was trained with --image-size: the option stands in the checkpoint's config alone.
    """
    now, before = _sizes_tested(cfg), _sizes_tested(trained)
    others = [f"{name} {before[name]}, here {now[name]}" for name in now if before.get(name, now[name]) != now[name]]
    return f"it was trained with {first_few(others)}: its figures were measured at that size" if others else ""


def _sizes_tested(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sizes of the steps of the test pipeline by their names; those inside of other steps are left out."""
    steps = [step for pipeline in _pipelines(cfg, ("test",)) for step in pipeline or () if isinstance(step, Mapping)]
    return {f"{name_of(step.get('type'))}.{name}": plain(step[name]) for step in steps for name in STEP_SIZES if name in step}


def _fit_model(sizes: Sizes, model: Mapping[str, Any]) -> None:
    before = model.get("data_preprocessor") or {}
    sizes.multiply(before, ("size",))
    sizes.multiply(before.get("test_cfg"), ("size",))
    for augment in before.get("batch_augments") or ():
        sizes.multiply(augment, ("size",))
        sizes.multiply(augment, ("random_size_range",), augment.get("size_divisor", MULTIPLE))
    sizes.multiply(model.get("test_cfg"), ("crop_size", "stride"))
    sizes.multiply(model.get("backbone"), ("img_size",))


def _reference(cfg: Config) -> int | None:
    if size := entry_of(cfg, "model.data_preprocessor.size"):
        return _shorter(size)
    for splits in (("val", "test"), ("train",)):
        for step in _steps(_pipelines(cfg, splits)):
            if found := next((step[name] for name in STEP_SIZES[:-1] if step.get(name)), None):
                return _shorter(found)
    return None


def _said(size: Any) -> str:
    if isinstance(size, list | tuple) and (len(size) > 2 or any(isinstance(side, list | tuple) for side in size)):
        return f"{plain(size[0])} ... {plain(size[-1])}"
    return str(plain(size))


def _shorter(size: Any) -> int | None:
    if isinstance(size, list | tuple):
        return min(filter(None, map(_shorter, size)), default=None)
    return int(size) if size > 1 else None


def _pipelines(cfg: Mapping[str, Any], splits: tuple[str, ...]) -> Iterator[Any]:
    """Yield the pipelines of the splits' datasets, and with all splits those that a run takes up later."""
    for split in splits:
        yield from (part.get("pipeline") for part in mappings(entry_of(cfg, f"{split}_dataloader.dataset")))
    if splits == SPLITS:
        yield from (cfg[name] for name in cfg if str(name).endswith("pipeline"))
        yield from (hook.get("switch_pipeline") for hook in cfg.get("custom_hooks") or ())


def _steps(part: Any) -> Iterator[Any]:
    """Yield the steps that count in pixels, also those inside others."""
    if isinstance(part, Mapping):
        if name_of(part.get("type")) in OPAQUE or str(part.get("crop_type", "")).startswith("relative"):
            return
        yield part
        part = [part[name] for name in part]
    if isinstance(part, Iterator | list | tuple):
        for entry in part:
            yield from _steps(entry)
