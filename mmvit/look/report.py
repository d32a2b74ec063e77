"""Pictures that every training leaves: its curves, and predictions beside ground truth for a few validation images."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner
from torchvision.ops import nms

from ..checks.table import warn
from ..config.datasets import metainfo_of
from ..config.work_dirs import read_scalars
from ..data.colours import GREY, Colour
from ..data.label_maps import IGNORED
from ..data.tiff import picture_of
from ..engine.checkpoints import best_hook
from ..errors import InputError
from ..measure.coco import Evaluation
from ..measure.errors import judge
from ..measure.objects import found_objects
from ..measure.segmentation import ignored_of
from ..predict.drawing import colour_of, drawable, require_drawing
from ..predict.fonts import font_file
from ..predict.results import Detections
from ..registry import HOOKS
from .charts import BLUE, QUIET
from .pictures import LEGEND, SIDE, error_picture, figure_of, fitted, judged_pictures

CURVES, PREDICTIONS = "curves.png", "predictions.png"
SHOWN = 12  # images on the sheet
NAMED = 20  # classes in the legend, in two rows
LEAST_SCORE = 0.3  # lowest score of a drawn prediction
MOST_OVERLAP = 0.5  # largest IoU of two drawn predictions
METRICS = ("coco/bbox_mAP", "coco/segm_mAP", "mIoU", "mAcc", "aAcc")  # where no metric chooses the best checkpoint
SHEET, DPI = 17.0, 100  # width of a sheet of pictures in inches, pixels of an inch


@HOOKS.register_module()
class PicturesHook(Hook):
    """Hook that writes `curves.png` and `predictions.png` to the work dir after training."""

    def before_train(self, runner: Runner) -> None:
        """Say before the run what would be missing after it."""
        try:
            require_drawing()
        except InputError as error:
            warn("pictures", f"there will be no {PREDICTIONS}: {error}")

    def after_train(self, runner: Runner) -> None:
        folder = Path(runner.work_dir)
        try:
            samples = predictions(runner, SHOWN)  # on all processes: each may hold only a share of the model
            if is_main_process():
                draw_curves(read_scalars(folder), *_metric(runner), folder / CURVES)
            if is_main_process() and samples:
                metainfo, ignored = metainfo_of(runner.val_dataloader.dataset), ignored_of(runner.cfg.get("val_evaluator"))
                draw_contact_sheet(samples, metainfo, folder / PREDICTIONS, ignored)
        except Exception as error:  # the training is done, and what it left is worth more than its pictures
            runner.logger.warning(f"no pictures of this training: {type(error).__name__}: {error}")


def _metric(runner: Runner) -> tuple[str | None, str | None]:
    """Return the metric that chooses the best checkpoint, and its rule."""
    saving = best_hook(runner)
    return (None, None) if saving is None else (saving.key_indicators[0], saving.rules[0])


def predictions(runner: Runner, count: int) -> list[Any]:
    """Return validation images, evenly spread, with ground truth and the model's predictions, as data samples."""
    if runner.val_loop is None:
        return []
    loader, samples = runner.val_dataloader, []
    averages = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
    runner.model.eval()
    for hook in averages:
        hook.before_val_epoch(runner)  # puts the averaged weights into the model, as for a validation
    try:
        for index in np.unique(np.linspace(0, len(loader.dataset) - 1, count).astype(int)).tolist():
            with torch.no_grad():
                samples += runner.model.val_step(loader.collate_fn([loader.dataset[index]]))
    finally:
        for hook in averages:
            hook.after_val_epoch(runner)
    return samples


def draw_curves(log: list[dict[str, float]], metric: str | None, rule: str | None, target: Path) -> None:
    """Draw the loss against iterations, and a metric against what it was logged by, and mark the metric's best value."""
    from matplotlib.ticker import MaxNLocator

    known = [name for name in (metric, *METRICS) if name and any(name in entry for entry in log)]
    name = known[0] if known else metric or "validation"
    epochs = max((entry.get("epoch", 0) for entry in log if "loss" in entry), default=0)
    figure, ((left, right),) = figure_of(1, 2, (9, 3.4))
    for axes, key, title in ((left, "loss", "training loss"), (right, name, f"{name} on val")):
        entries = [(entry["step"], entry[key]) for entry in log if key in entry and np.isfinite(entry[key])]
        entries = [entry for entry in entries if key == "loss" or entry[1] >= 0]  # -1: nothing to measure
        axes.set_title(title, fontsize=10)
        if not entries:
            axes.text(0.5, 0.5, "none", ha="center", va="center", color=QUIET, transform=axes.transAxes)
            axes.axis("off")
            continue
        steps, values = np.array(entries).T
        axes.plot(steps, values, color=BLUE, marker="." if len(steps) < 50 else None, linewidth=1.5)
        axes.set_ylim(0, values.max() * 1.15 if values.max() > 0 else 1)
        axes.set_xlim(0, steps[-1] * 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        by_epoch = key != "loss" and steps[-1] <= epochs  # mmengine's logger counts epochs for metrics, if not told otherwise
        axes.set_xlabel("epochs" if by_epoch else "iterations", fontsize=9)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        if key != "loss" and values.max() > 0:
            best = int(values.argmin() if name == metric and rule == "less" else values.argmax())
            place = dict(xytext=(0, 6), textcoords="offset points", ha="center", fontsize=8)
            axes.annotate(f"{values[best]:.4g}", (steps[best], values[best]), **place)
    figure.savefig(target, dpi=120)


def draw_contact_sheet(samples: Sequence[Any], metainfo: Any, target: Path, ignored: int = IGNORED) -> None:
    """Draw ground truth beside predictions; beside label maps also where they are wrong and the truth is not `ignored`."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.patches import Patch

    segments = "pred_sem_seg" in samples[0]
    for sample in samples if segments else ():
        sample.gt_sem_seg.data[sample.gt_sem_seg.data == ignored] = IGNORED
    heads = ["ground truth", "prediction", "wrong pixels"] if segments else ["ground truth", f"found, score from {LEAST_SCORE}"]
    pictures = list(chain.from_iterable((_labels if segments else _objects)(samples, metainfo)))
    columns = min(6 if segments else 4, len(pictures))  # names of objects must be readable
    width = min(SIDE / DPI, SHEET / columns)
    rows, ratio = -(-len(pictures) // columns), max(picture.shape[0] / picture.shape[1] for picture in pictures)
    figure, grid = figure_of(rows, columns, (width * columns, (width + 0.1) * ratio * rows + 0.6))
    cells = grid.reshape(-1)
    for axes, picture in zip(cells, pictures, strict=False):
        axes.imshow(picture[..., ::-1])
    for axes in cells:
        axes.axis("off")
    for axes, title in zip(cells[:columns], heads * columns, strict=False):
        axes.set_title(title, fontsize=9)
    handles = [Patch(color=f"#{bytes(colour).hex()}", label=name) for name, colour in _legend(samples, metainfo).items()]
    legend = figure.legend(
        handles=handles, loc="outside lower center", ncols=-(-len(handles) // (1 + (len(handles) > NAMED // 2))), frameon=False
    )
    for entry in legend.get_texts():
        entry.set_fontproperties(FontProperties(fname=font_file(entry.get_text()), size=9))
    figure.savefig(target, dpi=DPI)


def _objects(samples: Sequence[Any], metainfo: Any) -> Iterator[list[np.ndarray]]:
    """Yield pictures of annotated and found objects, hits and misses told apart."""
    images, classes = len(samples), metainfo["classes"]
    truth = found_objects(_result(sample, sample.gt_instances, with_masks=False) for sample in samples)
    found = found_objects(_result(sample, _best(sample.pred_instances)) for sample in samples)
    judged = replace(judge(Evaluation(truth, found.without_masks(), images, len(classes))), found=found)
    for sample, theirs, ours in zip(samples, truth.rows(images), found.rows(images), strict=True):
        yield judged_pictures(picture_of(sample.img_path), judged, (theirs, ours), classes, LEAST_SCORE)


def _best(found: Any) -> Any:
    """Return the best guess for each object, of whatever class."""
    found = found[found.scores >= LEAST_SCORE]
    return found[nms(found.bboxes, found.scores, MOST_OVERLAP)]


def _result(sample: Any, objects: Any, with_masks: bool = True) -> Detections:
    boxes = torch.as_tensor(getattr(objects.bboxes, "tensor", objects.bboxes)).cpu().numpy()
    scores = objects.scores.cpu().numpy() if "scores" in objects else np.full(len(boxes), np.nan)
    masks = objects.masks.cpu().numpy() if with_masks and "masks" in objects else None
    return Detections(sample.img_path, sample.ori_shape, boxes, scores, objects.labels.cpu().numpy(), (), masks)


def _labels(samples: Sequence[Any], metainfo: Any) -> Iterator[list[np.ndarray]]:
    """Yield pictures of true and predicted label maps, and of the pixels where they differ."""
    table = np.array([*(colour_of(label, metainfo.get("palette")) for label in range(IGNORED)), GREY], np.uint8)[:, ::-1]
    for sample in samples:
        image = picture_of(sample.img_path)
        maps = list(_maps(sample))
        yield [
            *(fitted(cv2.addWeighted(image, 0.5, table[labels], 0.5, 0)) for labels in maps),
            error_picture(image, maps[0], maps[1]),
        ]


def _maps(sample: Any) -> Iterator[np.ndarray]:
    for part in (sample.gt_sem_seg, sample.pred_sem_seg):
        yield part.data[0].cpu().numpy().astype(np.uint8)


def _legend(samples: Sequence[Any], metainfo: Any) -> dict[str, Colour]:
    """Return the colours of verdicts for objects; for label maps those of the classes, the largest first."""
    if "pred_sem_seg" not in samples[0]:
        return LEGEND
    counts = sum(np.bincount(labels.ravel(), minlength=IGNORED + 1) for sample in samples for labels in _maps(sample))
    there = [label for label in np.argsort(-counts, kind="stable").tolist() if counts[label] and label != IGNORED]  # type: ignore[index]
    return {drawable(metainfo["classes"], label): colour_of(label, metainfo.get("palette")) for label in there[:NAMED]}
