"""The plan of a run: what the checks look at, each file read once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..arguments import name_of
from ..config.datasets import DatasetView, datasets_of, is_remote
from ..config.parts import evaluators_of, models_of
from ..errors import InputError
from .survey import Reading, Survey, survey

SEPARATE = "MultiDatasetsEvaluator"  # mmdet's evaluator with a metric for each dataset of a ConcatDataset


@dataclass
class Plan:
    """A run that is about to begin."""

    config: Config
    splits: tuple[str, ...]  # the parts of the data that it reads: train, val, test
    found: dict[tuple[Path, Reading], Survey | InputError] = field(default_factory=dict)  # or why a file cannot be used
    learned: dict[str, Mapping[str, int]] = field(default_factory=dict)  # objects of each class, by a training dataset's key

    @cached_property
    def datasets(self) -> tuple[DatasetView, ...]:
        """The datasets of all splits; of wrappers the datasets inside."""
        return tuple(datasets_of(self.config, self.splits))

    @cached_property
    def models(self) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        """The models of the config with their keys: the model itself, and those inside wrappers."""
        return tuple(models_of(self.config.get("model") or {}))

    @property
    def only_asked(self) -> bool:
        """Whether the doctor asks, often where nothing will run: only he looks at training and test at once."""
        return {"train", "test"} <= set(self.splits)

    @property
    def trained(self) -> list[DatasetView]:
        return [view for view in self.datasets if view.for_training]

    @property
    def coco(self) -> Iterator[DatasetView]:
        """The datasets with a file in COCO's format that is there."""
        return (view for view in self.datasets if view.is_coco and view.ann_file.exists())

    def evaluators(self, split: str) -> Iterator[tuple[str, Mapping[str, Any], list[DatasetView]]]:
        """Yield the evaluators of a split with their keys, and the datasets that each of them measures."""
        key, views = f"{split}_evaluator", [view for view in self.datasets if view.split == split]
        given = self.config.get(key)
        apart = isinstance(given, Mapping) and name_of(given.get("type")) == SEPARATE
        for index, (part_key, part) in enumerate(evaluators_of(self.config, split)):
            yield part_key, part, views[index : index + 1] if apart else views

    def coco_evaluators(self) -> Iterator[tuple[str, Mapping[str, Any], list[DatasetView]]]:
        """Yield the evaluators that read a COCO file of this machine, with those of their datasets that have boxes."""
        for split in self.splits:
            for key, evaluator, views in self.evaluators(split):
                file = evaluator.get("ann_file")
                measures = name_of(evaluator.get("type")) == "CocoMetric" and not evaluator.get("format_only")
                if measures and file and not is_remote(Path(file)):
                    yield key, evaluator, [view for view in views if view.is_coco and view.reads_boxes]

    def survey(self, view: DatasetView, evaluator: Mapping[str, Any] | None = None, label: str = "") -> Survey:
        """Return the survey of a dataset's annotation file, or of an evaluator's whole file as this dataset would read it.

        Raises:
            InputError: the file cannot be used.
        """
        indices = None if evaluator else view.config.get("indices")
        file, label = Path(evaluator["ann_file"]) if evaluator else view.ann_file, label or view.label
        reading = Reading(
            classes=tuple(view.classes()),
            boxes=view.reads_boxes,
            masks=view.reads_masks,
            annotated=view.loads_annotations and view.split != "test",
            least_side=view.filter.get("min_size") or 0,
            full=bool(view.filter.get("filter_empty_gt")),
            sorts=bool(evaluator.get("sort_categories")) if evaluator else view.sorts_categories,
            indices=indices if indices is None or isinstance(indices, int) else tuple(indices),
        )
        key = (file.resolve(), reading)
        if key not in self.found:
            try:
                self.found[key] = survey(file, label, reading)
            except InputError as error:
                self.found[key] = error
        answer = self.found[key]
        if isinstance(answer, InputError):
            raise answer
        return answer

    def surveyed(self, view: DatasetView) -> Survey | None:
        """Return the survey of a dataset; None if its file cannot be used, which the check of annotations reports."""
        try:
            return self.survey(view)
        except InputError:
            return None
