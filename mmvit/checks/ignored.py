"""Checks of the label that segmenters ignore: heads, padding and figures must mean the same one."""

from collections.abc import Iterator

from ..arguments import name_of
from ..config.parts import entry_of, parts_of
from ..data.label_maps import IGNORED
from .classes import known_classes
from .findings import Finding, doubtful
from .plan import Plan

METRICS = ("IoUMetric", "BinaryMetric")


def check_ignored(plan: Plan) -> Iterator[Finding]:
    """Report classes that are ignored by heads or figures, and padding that is not ignored."""
    if "train" in plan.splits:
        yield from _by_heads(plan)
    for split in plan.splits:
        for key, part, views in plan.evaluators(split):
            ignored = part.get("ignore_index", IGNORED)
            classes = next((known_classes(view.config) or [] for view in views), [])
            if name_of(part.get("type")) in METRICS and isinstance(ignored, int) and 0 <= ignored < len(classes):
                yield doubtful(
                    f"{key}.ignore_index is {ignored}, the class {classes[ignored]!r}: figures leave out its pixels",
                    f"Leave it out: {IGNORED} is what label maps have for no class",
                )


def _by_heads(plan: Plan) -> Iterator[Finding]:
    model = plan.config.get("model") or {}
    before = entry_of(model, "data_preprocessor") or {}
    padding = before.get("seg_pad_val", IGNORED)
    pads = any(before.get(name) is not None for name in ("size", "size_divisor"))
    for key, head in parts_of(model, ("decode_head", "auxiliary_head")):
        ignored, classes = head.get("ignore_index", IGNORED), head.get("num_classes")
        if not (isinstance(classes, int) and isinstance(ignored, int)):
            continue
        if 0 <= ignored < classes:
            yield doubtful(
                f"{key}.ignore_index is {ignored}, one of its {classes} classes: the head learns no pixel of it",
                "Choose a number that no class has, in the label maps, too",
            )
        if pads and isinstance(padding, int) and padding != ignored:
            does = f"learns as class {padding}" if 0 <= padding < classes else "has no class for"
            yield doubtful(
                f"model.data_preprocessor.seg_pad_val is {padding}, and {key}.ignore_index {ignored}: where an image is "
                f"smaller than the crop, the head gets padding that it {does}",
                "Give both the same",
            )
