"""A dataset's part of a config, and the questions that one asks of it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from ..arguments import name_of
from ..errors import InputError, brief, first_few
from .parts import class_of, default_of, entry_of, mappings, parts_of

SPLITS = ("train", "val", "test")
LOADERS = ("LoadAnnotations", "LoadLabelMap")


@dataclass(frozen=True)
class DatasetView:
    """A dataset's part of a config, and the questions that the checks ask of it."""

    key: str  # in the whole config, such as `train_dataloader.dataset`
    config: ConfigDict
    scope: str | None = None  # default_scope of the whole config

    @property
    def label(self) -> str:
        """The annotation file and its key, as messages name them."""
        return f"{self.ann_file} ({self.key}.ann_file)"

    @property
    def split(self) -> str:
        return self.key.partition("_")[0]

    @property
    def for_training(self) -> bool:
        return self.split == "train"

    @property
    def type_name(self) -> str:
        return name_of(self.config.get("type"))

    @property
    def root(self) -> str:
        return self.config.get("data_root") or ""

    @property
    def prefixes(self) -> Mapping[str, str | None]:
        """The folders of images, label maps, ... in `data_prefix`; of mmseg's datasets, the default of their class."""
        given = self.config.get("data_prefix")
        if given is None and self.scope == "mmseg":
            given = default_of(self._class, "data_prefix")
        return given or {}

    @property
    def ann_file(self) -> Path:
        return Path(self.root, self.config.ann_file)

    @property
    def image_folder(self) -> Path:
        return Path(self.root, self.prefixes.get("img") or "")

    @property
    def filter(self) -> Mapping[str, Any]:
        """The rules by which mmdet leaves out images: `filter_cfg`, unless `test_mode` is set."""
        return {} if self.config.get("test_mode") else self.config.get("filter_cfg") or {}

    @cached_property
    def kind(self) -> Any:
        """The dataset's class. Raise InputError if no registry has the type."""
        if self._class is None:
            raise InputError(f"dataset type {self.config.type} is in none of the registries of default_scope {self.scope}")
        return self._class

    @cached_property
    def _class(self) -> Any:
        from mmengine.registry import DATASETS  # torch, which --help does without

        return class_of(self.config, DATASETS, self.scope)

    @property
    def is_coco(self) -> bool:
        """Whether a file on this machine has its annotations in COCO's format.

        Its type is named after COCO, or loads its lists as `CocoDataset` does, like Cityscapes'.
        """
        if not self.config.get("ann_file") or is_remote(self.ann_file):
            return False
        return "Coco" in str(self.config.type) or self._loads_like("CocoDataset") or self.sorts_categories

    @property
    def sorts_categories(self) -> bool:
        """Whether it numbers the categories of a COCO file by their ids, not in the file's order."""
        return self._loads_like("Objects365V1Dataset")

    def _loads_like(self, name: str) -> bool:
        parents = getattr(self._class, "__mro__", ())
        return any(base.__name__ == name and base.load_data_list is self._class.load_data_list for base in parents)

    @property
    def reads_boxes(self) -> bool:
        """Whether it reads annotations like `CocoDataset`, unlike datasets of captions and of panoptic segments."""
        from mmdet.datasets import CocoDataset

        return issubclass(self.kind, CocoDataset) and self.kind.parse_data_info is CocoDataset.parse_data_info

    @property
    def loads_annotations(self) -> bool:
        """Whether the pipeline loads annotations, unlike that of unlabelled images."""
        return any(name_of(step.get("type")) in LOADERS for step in self.steps())

    @property
    def reads_masks(self) -> bool:
        return any(step.get("with_mask") for step in self.steps())

    @property
    def is_measured(self) -> bool:
        """Whether `analyze` reads its labels: boxes of a COCO file, or label maps."""
        return (self.is_coco and self.reads_boxes) or self.label_map_reader() is not None

    def label_map_reader(self) -> Any:
        """Return mmseg's dataset without reading its data; None if it reads no images with label maps from this machine."""
        folders = [self.prefixes.get(name) for name in ("img_path", "seg_map_path")]
        named = all(name is not None and (self.root or name) and not is_remote(Path(self.root, name)) for name in folders)
        if not self.loads_annotations or not named:
            return None
        from mmseg.datasets import BaseSegDataset

        return self.built() if issubclass(self.kind, BaseSegDataset) else None

    def built(self) -> Any:
        """Return the dataset without a pipeline, and without reading its data."""
        settings = {name: value for name, value in self.config.items() if name not in ("type", "_scope_")}
        return self.kind(**{**settings, "pipeline": [], "lazy_init": True})

    def classes(self) -> list[str]:
        """Return the names of the classes to train.

        Raises:
            InputError: `metainfo.classes` is a string instead of a tuple, or has names that are not strings, or the file of
                names that a type reads is not there.
        """
        given = entry_of(self.config, "metainfo.classes")
        if given is None:
            given = self.kind.METAINFO.get("classes", ())
        if given is None:
            given = self._listed_classes()
        if isinstance(given, str):
            if Path(given).is_file():  # mmengine reads one name per line
                from mmengine.fileio import list_from_file

                return list_from_file(given)
            raise InputError(
                f"{self.key}.metainfo.classes is the string {given!r}, neither a tuple of names nor a file: each of its "
                f"letters, and every name inside it, would count as a class. Write classes=({given!r},) with a comma"
            )
        classes = list(given)
        if numbers := [name for name in classes if not isinstance(name, str)]:
            raise InputError(
                f"metainfo.classes of {self.type_name} has {first_few(numbers)} ({type(numbers[0]).__name__}), expected "
                "names. Write them in quotes, in a config of your own: --cfg-options turns digits into numbers"
            )
        return classes

    def _listed_classes(self) -> Sequence[str]:
        """Return the classes of a type that reads their names from a file of its own, like V3Det's."""
        try:
            return self.built().metainfo.get("classes") or ()
        except Exception as error:
            raise InputError(f"{self.key}: {self.type_name} cannot tell its classes: {brief(error)}") from error

    def chosen(self, images: Sequence[Any]) -> Sequence[Any]:
        """Return the images that `indices` leaves of all; see `chosen`."""
        return chosen(images, self.config.get("indices"))

    def steps(self) -> Iterator[Mapping[str, Any]]:
        """Yield the steps of the pipeline, including those nested in test-time augmentation."""
        return mappings(self.config.get("pipeline"))

    def paths(self) -> Iterator[tuple[str, Path]]:
        """Yield config keys and paths of the annotation file and of the folders."""
        if self.config.get("ann_file"):
            yield f"{self.key}.ann_file", self.ann_file
        for name, folder in self.prefixes.items():
            if folder is not None and (self.root or folder):
                yield f"{self.key}.data_prefix.{name}", Path(self.root, folder)

    def absent(self) -> Iterator[tuple[str, Path]]:
        """Yield config keys and paths that a run would read and that are not there."""
        for name, path in self.paths():
            if not path.exists() and (self.loads_annotations or not name.endswith(".seg_map_path")):
                yield name, path


def loaders_of(cfg: Config, splits: Iterable[str]) -> list[tuple[str, dict[str, Any]]]:
    """Return the data loaders of the splits with their keys."""
    return parts_of(cfg, [f"{split}_dataloader" for split in splits], "")


def datasets_of(cfg: Config, splits: Iterable[str]) -> Iterator[DatasetView]:
    """Yield the datasets of the splits; of wrappers (RepeatDataset, ConcatDataset, ...) the datasets inside."""
    for key, dataset, wraps in wrapped_datasets(cfg, splits):
        if not wraps:
            yield DatasetView(key, dataset, cfg.get("default_scope"))


def wrapped_datasets(cfg: Config, splits: Iterable[str]) -> Iterator[tuple[str, ConfigDict, bool]]:
    """Yield the keys and parts of all datasets of the splits, wrappers before those inside, and whether each is a wrapper."""
    pending = [entry for key, loader in loaders_of(cfg, splits) for entry in parts_of(loader, "dataset", key)]
    while pending:
        key, dataset = pending.pop(0)
        inner = parts_of(dataset, ("dataset", "datasets"), key)
        yield key, dataset, bool(inner)
        pending = inner + pending


def metainfo_of(dataset: Any) -> Mapping[str, Any]:
    """Return what a built dataset tells of its classes; of a ConcatDataset whose parts differ, what the first does."""
    return first_meta(getattr(dataset, "metainfo", None))


def first_meta(metainfo: Any) -> Mapping[str, Any]:
    """Return the `metainfo` of a dataset or evaluator, of several the first."""
    return (metainfo[0] if isinstance(metainfo, list | tuple) else metainfo) or {}


def chosen(images: Sequence[Any], indices: int | Sequence[int] | None) -> Sequence[Any]:
    """Return the images that mmengine's `indices` leaves: the first, the last (a negative number), or those of a list.

    Raises:
        InputError: the list has the number of no image.
    """
    if indices is None:
        return images
    if isinstance(indices, int):
        return images[:indices] if indices >= 0 else images[indices:]
    if beyond := [index for index in indices if not -len(images) <= index < len(images)]:
        raise InputError(
            f"indices has {first_few(beyond)}, and the dataset {len(images)} images: expected 0 to {len(images) - 1}"
        )
    return [images[index] for index in indices]


def is_remote(path: Path) -> bool:
    return ":/" in str(path)
