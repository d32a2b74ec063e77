"""Checks that the datasets and evaluators of a run agree: on the meaning of the numbers in label maps, and on the images."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from ..errors import InputError, first_few


class Labels(NamedTuple):
    """Meaning of the numbers in label maps: the names of the classes, and whether 0 is removed first (reduce_zero_label)."""

    classes: tuple[str, ...]
    reduced: bool


def require_same_labels(found: Mapping[str, Labels]) -> None:
    """Check that a number in a label map means the same class in every dataset of a run.

    Raises:
        InputError: datasets differ in their classes, in the order of these, or in reduce_zero_label.
    """
    keys = list(found)
    for key in keys[1:]:
        first, other = found[keys[0]], found[key]
        if other.classes != first.classes:
            raise InputError(
                f"{keys[0]} has {len(first.classes)} classes ({first_few(first.classes)}), {key} has {len(other.classes)} "
                f"({first_few(other.classes) or 'none'}): the numbers in label maps would mean different classes. Give both "
                "the same metainfo.classes in the same order"
            )
        if other.reduced != first.reduced:
            raise InputError(
                f"{keys[0]} has reduce_zero_label={first.reduced}, {key} has {other.reduced}: the numbers in label maps would "
                "mean different classes. Give both the same"
            )


def another_file(names: Sequence[str], predicted: Collection[str], label: str) -> str:
    """Describe an evaluator that reads another annotation file than its dataset.

    Args:
        names: file names of the evaluator's images.
        predicted: file names of the dataset's images.
        label: how messages name the dataset's file.
    """
    lacking = [name for name in names if name not in predicted]
    missed = (
        f", which lacks {len(lacking)} of its {len(names)} images ({first_few(lacking)}): all their objects count as missed"
        if lacking
        else ""
    )
    return f"another file than {label}{missed}. Name the same file in both, unless this is intended"
