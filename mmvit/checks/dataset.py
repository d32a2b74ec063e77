"""What a dataset's config says of what a run reads: asked before each run (`preflight`) and for all files (`data_checks`)."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS

from ..errors import InputError, some

LOADERS = ("LoadAnnotations", "LoadLabelMap")


def datasets_of(cfg: Config, splits: Iterable[str]) -> Iterator[tuple[str, ConfigDict]]:
    """Datasets of some splits and their keys, wrappers (RepeatDataset, ConcatDataset, ...) opened."""
    pending = [
        (f"{split}_dataloader.dataset", cfg[f"{split}_dataloader"].dataset)
        for split in splits
        if cfg.get(f"{split}_dataloader")
    ]
    while pending:
        key, dataset = pending.pop(0)
        inner = [("dataset", dataset.get("dataset"))]
        inner += [(f"datasets.{index}", part) for index, part in enumerate(dataset.get("datasets") or ())]
        inner = [(f"{key}.{name}", part) for name, part in inner if isinstance(part, dict)]
        if inner:
            pending = inner + pending
        else:
            yield key, dataset


def is_coco(dataset: ConfigDict) -> bool:
    return bool(dataset.get("ann_file")) and "Coco" in str(dataset.type) and not is_remote(ann_file(dataset))


def ann_file(dataset: ConfigDict) -> Path:
    return Path(dataset.get("data_root") or "", dataset.ann_file)


def image_folder(dataset: ConfigDict) -> Path:
    return Path(dataset.get("data_root") or "", (dataset.get("data_prefix") or {}).get("img") or "")


def reads_boxes(dataset: ConfigDict, scope: str | None) -> bool:
    """Whether annotations are read as `CocoDataset` does: captions and panoptic segments are others."""
    from mmdet.datasets import CocoDataset

    kind = kind_of(dataset, scope)
    return issubclass(kind, CocoDataset) and kind.parse_data_info is CocoDataset.parse_data_info


def reads_masks(dataset: ConfigDict) -> bool:
    return any(step.get("with_mask") for step in steps_of(dataset.get("pipeline")))


def reads_label_maps(dataset: ConfigDict) -> bool:
    """Whether a run reads images with label maps from this dataset, in mmseg's manner and from this machine."""
    prefix = dataset.get("data_prefix") or {}
    loads = any(name_of(step.get("type")) in LOADERS for step in steps_of(dataset.get("pipeline")))
    return loads and all(
        prefix.get(name) is not None and not is_remote(Path(dataset.get("data_root") or "", prefix[name]))
        for name in ("img_path", "seg_map_path")
    )


def label_map_reader(dataset: ConfigDict, scope: str | None) -> Any:
    """mmseg's dataset for a config, unread, or None where its type is not one of mmseg's."""
    kind = kind_of(dataset, scope)
    from mmseg.datasets import BaseSegDataset

    if not issubclass(kind, BaseSegDataset):
        return None
    settings = {name: value for name, value in dataset.items() if name not in ("type", "_scope_")}
    return kind(**{**settings, "pipeline": [], "lazy_init": True})


def classes_of(dataset: ConfigDict, scope: str | None) -> list[str]:
    given = (dataset.get("metainfo") or {}).get("classes")
    if given is None:
        given = kind_of(dataset, scope).METAINFO.get("classes", ())
    classes = [given] if isinstance(given, str) else list(given)
    if numbers := [name for name in classes if not isinstance(name, str)]:
        raise InputError(
            f"metainfo.classes of {dataset.type} has {some(numbers)}, {type(numbers[0]).__name__} and no text, as names of "
            "categories are. Write them in quotes, in a config of your own: --cfg-options makes numbers of digits"
        )
    return classes


def kind_of(dataset: ConfigDict, scope: str | None) -> Any:
    if isinstance(dataset.type, type):
        return dataset.type
    with DATASETS.switch_scope_and_registry(scope) as registry:
        kind = registry.get(dataset.type)
    if kind is None:
        raise InputError(f"dataset type {dataset.type} is in none of the registries of default_scope {scope}")
    return kind


def steps_of(part: Any) -> Iterator[Mapping[str, Any]]:
    """The steps of a pipeline, those that test-time augmentation nests included."""
    if isinstance(part, Mapping):
        yield part
        part = list(part.values())
    if isinstance(part, list | tuple):
        for entry in part:
            yield from steps_of(entry)


def name_of(kind: Any) -> str:
    """A type's name without its scope."""
    return getattr(kind, "__name__", str(kind)).rpartition(".")[2]


def is_remote(path: Path) -> bool:
    return ":/" in str(path)
