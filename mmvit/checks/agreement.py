"""What the datasets and the evaluators of a run have to agree on: what a number in a label map means, and which images."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from ..errors import InputError, some


class Labels(NamedTuple):
    """What the numbers in label maps mean: names of the classes, and whether 0 is taken off first."""

    classes: tuple[str, ...]
    reduced: bool


def require_same_labels(found: Mapping[str, Labels]) -> None:
    """Label maps hold numbers: in every dataset of a run they have to mean the same.

    Raises:
        InputError: datasets with other classes, with these in another order, or with another reduce_zero_label.
    """
    keys = list(found)
    for key in keys[1:]:
        first, other = found[keys[0]], found[key]
        if other.classes != first.classes:
            raise InputError(
                f"{keys[0]} has {len(first.classes)} classes ({some(first.classes)}), {key} has {len(other.classes)} "
                f"({some(other.classes) or 'none'}): the numbers in label maps would mean different classes. Give both "
                "the same metainfo.classes in the same order"
            )
        if other.reduced != first.reduced:
            raise InputError(
                f"{keys[0]} has reduce_zero_label={first.reduced}, {key} has {other.reduced}: the numbers in label maps would "
                "mean different classes. Give both the same"
            )


def another_file(names: Sequence[str], predicted: Collection[str], told: str) -> str:
    """Return words on an evaluator that reads another annotation file than its dataset.

    Args:
        names: file names of the evaluator's images.
        predicted: those of the images that the dataset has.
        told: how messages name the dataset's file.
    """
    lacking = [name for name in names if name not in predicted]
    missed = (
        f", and {len(lacking)} of its {len(names)} images are not in it ({some(lacking)}): all their objects count as missed"
        if lacking
        else ""
    )
    return f"another file than {told}{missed}. Name the same file in both, unless you mean it"
