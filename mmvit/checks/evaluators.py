"""Checks that an evaluation measures what its dataset predicts."""

from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError, first_few
from .findings import Finding, doubtful, wrong
from .plan import Plan


def check_evaluators(plan: Plan) -> Iterator[Finding]:
    """Report annotation files of `CocoMetric`, which pycocotools reads in its own way, that do not fit the dataset's."""
    for split, evaluator, views in plan.coco_evaluators():
        file = Path(evaluator["ann_file"])
        label = f"{file} ({split}_evaluator.ann_file)"
        if not file.is_file():
            yield wrong("evaluator", f"{label}: no such file. Expected the annotations of {split}_dataloader.dataset")
        elif views:
            try:
                found = plan.survey(views[0], file, label)
            except InputError as error:
                if file.resolve() != views[0].ann_file.resolve():  # else the check of annotations has reported it
                    yield wrong("evaluator", str(error))
                continue
            if file.resolve() != views[0].ann_file.resolve():
                surveys = [survey for view in views if (survey := plan.surveyed(view)) is not None]
                predicted = {name for survey in surveys for name in survey.names}
                yield _other_file(label, found.names, predicted, views[0].label)
            count, ids = found.without_crowd
            if count:
                yield wrong(
                    "evaluator",
                    f"{label}: {count} annotations have no iscrowd (ids {first_few(ids)}), which evaluation needs and training "
                    "does not",
                    'Write "iscrowd": 0 into each',
                )


def _other_file(label: str, names: list[str], predicted: set[str], other: str) -> Finding:
    lacking = [name for name in names if name not in predicted]
    missed = (
        f", which lacks {len(lacking)} of its {len(names)} images ({first_few(lacking)}): all their objects count as missed"
    )
    return doubtful(
        "evaluator",
        f"{label}: another file than {other}{missed if lacking else ''}",
        "Name the same file in both, unless this is intended",
    )
