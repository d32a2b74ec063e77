"""What evaluators return, as figures of all classes together and of each."""

import re
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

PRECISION = "_precision"  # end of the names of CocoMetric's figures by class
# Figures that are -1 where there is nothing to measure: pycocotools' and lvis', whatever the prefix of their metric.
NOTHING = re.compile(r"(?:bbox|segm)_m?AP|AR[sml]?@|AR_[sml]@", re.ASCII)


def split_by_class(
    metrics: Mapping[str, float], tables: Mapping[str, Sequence[float]], classes: Sequence[str]
) -> tuple[dict[str, float | None], dict[str, dict[str, float | None]]]:
    """Return the figures of all classes together, and those of each class.

    Args:
        metrics: what the evaluator returned; CocoMetric's figures by class (`classwise=True`) are among them.
        tables: figures by class, in the order of `classes`.
    """
    by_class: dict[str, dict[str, float | None]] = {}
    for name, values in tables.items():
        for kind, value in zip(classes, values, strict=False):
            by_class.setdefault(kind, {})[name] = finite(value)
    figures: dict[str, float | None] = {}
    for name, value in metrics.items():
        if (number := number_of(value)) is None:
            continue
        stem = name.removesuffix(PRECISION)
        named = [kind for kind in classes if f"/{stem}".endswith(f"/{kind}")] if stem != name else []
        if named:
            kind = max(named, key=len)  # names may have slashes in them
            dataset = stem.removesuffix(kind).split("/")[:-2]  # MultiDatasetsEvaluator's prefix, before that of the metric
            known = any(table.startswith(" ".join(dataset)) for table in tables)
            by_class.setdefault(kind, {}).update({} if known else {" ".join([*dataset, "AP"]): finite(number)})
        else:
            nothing = number == -1 and NOTHING.match(name.rpartition("/")[2])
            figures[name] = None if nothing else finite(number)
    return figures, by_class


def number_of(value: Any) -> float | None:
    """Return what a metric measured as a number; None for text, lists and arrays of several."""
    try:
        value = value.item() if hasattr(value, "item") else value
    except (RuntimeError, ValueError):  # torch's and NumPy's
        return None
    return float(value) if isinstance(value, int | float) else None


def finite(value: Any) -> float | None:
    """Return a number for JSON, which has no NaN: None instead."""
    return float(value) if isfinite(value) else None
