"""Check of loaders that take the first images of their data alone."""

from collections.abc import Iterator

from ..config.datasets import DatasetView, loaders_of
from ..config.schedules import processes_of
from .findings import Finding, doubtful
from .plan import Plan


def check_first_images(plan: Plan) -> Iterator[Finding]:
    """Report `num_batch_per_epoch` that leaves out images. Where a COCO file has all of them, the check of evaluators does."""
    told = {view.key for _, _, views in plan.coco_evaluators() for view in views}
    for key, loader in loaders_of(plan.config, plan.splits):
        views = [view for view in plan.datasets if view.key.startswith(key) and view.key not in told]
        batches, size = loader.get("num_batch_per_epoch"), loader.get("batch_size", 1)
        counts = [_images(plan, view) for view in views if batches]
        if not counts or None in counts:
            continue
        there, taken = sum(count or 0 for count in counts), batches * size * processes_of(plan.config)
        if taken < there:
            what = "nothing is learned from the others" if key.startswith("train") else "the figures are of these alone"
            yield doubtful(
                f"{key}.num_batch_per_epoch is {batches}, which takes the first {taken} of {there} images: {what}",
                "Leave it out for all of them",
            )


def _images(plan: Plan, view: DatasetView) -> int | None:
    """Return the number of images that a dataset takes; None if it cannot be told, or other checks say why."""
    if view.is_coco:
        found = plan.surveyed(view)
        return None if found is None else len(found.ids)
    if view.scope != "mmseg" or any(view.absent()):
        return None
    reader = view.label_map_reader()
    return None if reader is None else len(view.chosen(reader.load_data_list()))
