"""Check of what asks for a figure of the validation: the best checkpoint, early stopping, rates that fall on a plateau.

mmengine looks for the figure after the first validation, which may be hours into the run.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.hooks import CheckpointHook, EarlyStoppingHook

from ..arguments import listed, name_of
from ..config.datasets import DatasetView
from ..config.parts import entry_of, parts_of
from ..errors import nearest
from .findings import Finding, doubtful, wrong
from .plan import SEPARATE, Plan

COCO = ("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l")
PROPOSALS = ("AR@100", "AR@300", "AR@1000", "AR_s@1000", "AR_m@1000", "AR_l@1000")
COCO_METRICS = {"bbox": (COCO, "bbox_"), "segm": (COCO, "segm_"), "proposal": (PROPOSALS, ""), "proposal_fast": ((), "")}
IOU = {"mIoU": ("mIoU", "mAcc"), "mDice": ("mDice", "mAcc"), "mFscore": ("mFscore", "mPrecision", "mRecall")}
PREFIXES = {"CocoMetric": "coco", "CocoPanopticMetric": "coco_panoptic", "VOCMetric": "pascal_voc", "IoUMetric": ""}
LESS = ("loss", "mMR", "MAE")  # ends of the names of figures of which less is better
SAVING = "default_hooks.checkpoint"


def check_best(plan: Plan) -> Iterator[Finding]:
    """Report figures that are asked for and that the validation does not give, or of which nobody says which is better."""
    if "train" not in plan.splits:
        return
    given = figures(plan)
    for key, name, ranks in _wanted(plan.config):
        if not plan.config.get("val_dataloader"):
            yield doubtful(f"{key} is {name!r}, and there is no validation (val_dataloader), which would give it")
        elif name != "auto" and given is not None and name not in given:
            yield wrong(f"{key} is {name!r}, and the validation gives no such figure; {nearest(name, sorted(given))}")
        elif ranks is not None and not _inferred(ranks):
            rule = f"{key.rpartition('.')[0]}.rule"
            remedy = (
                f"Set {rule}='less'" if name.endswith(LESS) else f"Set {rule}='greater', or 'less' where less of it is better"
            )
            yield wrong(f"{key} is {name!r}, and mmengine cannot tell whether more of it is better", remedy)


Wanted = tuple[str, str, tuple[type, dict[str, Any]] | None]  # key, figure, and the hook that finds out what is better


def _wanted(cfg: Any) -> Iterator[Wanted]:
    saving = entry_of(cfg, SAVING) or {}
    options = {name: saving[name] for name in ("save_best", "rule", "greater_keys", "less_keys") if name in saving}
    for name in listed(saving.get("save_best")):
        yield f"{SAVING}.save_best", name, (CheckpointHook, options)
    for key, hook in parts_of(cfg, "custom_hooks", ""):
        if name_of(hook.get("type")) == "EarlyStoppingHook" and isinstance(hook.get("monitor"), str):
            options = {name: hook[name] for name in ("monitor", "rule") if name in hook}
            yield f"{key}.monitor", hook["monitor"], (EarlyStoppingHook, options)
    for key, schedule in parts_of(cfg, "param_scheduler", ""):
        if name_of(schedule.get("type")).startswith("ReduceOnPlateau"):
            yield f"{key}.monitor", schedule.get("monitor", "loss"), None


def _inferred(ranks: tuple[type, dict[str, Any]]) -> bool:
    """Return whether a hook knows its rule: it is built with the options that say so."""
    try:
        ranks[0](**ranks[1])
    except ValueError:
        return False
    return True


def figures(plan: Plan) -> set[str] | None:
    """Return the names of all figures that the validation gives; None if one of its metrics is not known here."""
    found: set[str] = set()
    whole = plan.config.get("val_evaluator") or {}
    apart = isinstance(whole, Mapping) and name_of(whole.get("type")) == SEPARATE
    for number, (_, evaluator, views) in enumerate(plan.evaluators("val")):
        kind = name_of(evaluator.get("type"))
        if kind not in PREFIXES:
            return None
        parts = [evaluator.get("prefix") or PREFIXES[kind]]
        if apart:
            parts.insert(0, whole["dataset_prefixes"][number])
        try:
            found |= {"/".join([part for part in parts if part] + [name]) for name in _names(kind, evaluator, views)}
        except KeyError:  # the check of metrics says that there is no such one
            return None
    return found or None


def _names(kind: str, evaluator: Mapping[str, Any], views: list[DatasetView]) -> Iterator[str]:
    wanted, counts = listed(evaluator.get("metric")), evaluator.get("proposal_nums") or (100, 300, 1000)
    if kind == "IoUMetric":
        yield "aAcc"
        for name in evaluator.get("iou_metrics") or ("mIoU",):
            yield from IOU[name]
    elif kind == "VOCMetric":
        thresholds = listed(evaluator.get("iou_thrs", 0.5))
        if wanted == ["recall"]:
            yield from (f"recall@{count}@{threshold}" for count in counts for threshold in thresholds)
            yield from (f"AR@{count}" for count in counts if len(thresholds) > 1)
        else:
            yield from ("mAP", *(f"AP{int(threshold * 100):02d}" for threshold in thresholds))
    elif kind == "CocoPanopticMetric":
        yield from (f"{name}{part}" for name in ("PQ", "SQ", "RQ") for part in ("", "_th", "_st"))
    else:
        for name in wanted or ["bbox"]:
            items, prefix = COCO_METRICS[name]
            if name == "proposal_fast":  # which knows no metric_items
                yield from (f"AR@{count}" for count in counts)
            else:
                yield from (f"{prefix}{item}" for item in evaluator.get("metric_items") or items)
        if evaluator.get("classwise"):
            yield from (f"{name}_precision" for view in views for name in view.classes())
