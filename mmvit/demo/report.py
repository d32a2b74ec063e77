"""Report at the end of a demo run: metrics in one line, a contact sheet of predictions beside ground truth, and curves."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner, find_latest_checkpoint
from torchvision.ops import nms

from ..data.logs import read_scalars
from ..registry import HOOKS
from .spec import SEGMENTATION_CLASSES
from .unseen import predict_unseen

SHOWN = 12  # images on the contact sheet
LEAST_SCORE = 0.3  # lowest score of a drawn prediction
MOST_OVERLAP = 0.5  # largest IoU of two drawn predictions
FIGURES = {  # metric in the log: name, format; the first one that exists is drawn over the iterations
    "coco/bbox_mAP_50": ("AP50", ".3f"),
    "coco/bbox_mAP": ("box AP", ".3f"),
    "coco/segm_mAP": ("mask AP", ".3f"),
    "mIoU": ("mIoU %", ".1f"),
    "mAcc": ("mAcc %", ".1f"),
    "aAcc": ("aAcc %", ".1f"),
}


@HOOKS.register_module()
class DemoReportHook(Hook):
    """Hook that writes `predictions.png` and `curves.png` to the work dir after training, and prints the metrics last."""

    priority = "LOWEST"  # after the progress bar has returned the terminal

    def __init__(self) -> None:
        self.closing_line = ""

    def before_train(self, runner: Runner) -> None:
        self.started = time.monotonic()

    def after_train(self, runner: Runner) -> None:
        samples = list(predictions(runner, SHOWN))  # on all processes: each may hold only a share of the model
        if not is_main_process():
            return
        minutes = (time.monotonic() - self.started) / 60
        folder = Path(runner.work_dir)
        log = read_scalars(folder)
        draw_curves(log, folder / "curves.png")
        classes = runner.val_dataloader.dataset.metainfo["classes"]
        draw_contact_sheet(samples, classes, folder / "predictions.png")
        start = "the file of init_cfg" if runner.cfg.model.backbone.get("init_cfg") else "random weights"
        self.closing_line = (
            f"demo: {figures_of(log)} after {minutes:.1f} min of training from {start} ({runner.iter} iterations, "
            f"{torch.get_num_threads()} threads); see {folder / 'predictions.png'} and {folder / 'curves.png'}"
        )

    def after_run(self, runner: Runner) -> None:
        if not self.closing_line:
            return
        runner.logger.info(self.closing_line)
        if checkpoint := find_latest_checkpoint(runner.work_dir):
            command = predict_unseen(Path(checkpoint), Path(runner.work_dir))
            runner.logger.info(f"images that training never saw, predicted as by: {command}")


def figures_of(log: list[dict[str, float]]) -> str:
    """Return a line with the metrics of the last validation."""
    validations = [entry for entry in log if any(metric in entry for metric in FIGURES)]
    if not validations:
        return "no detections on val"
    last = validations[-1]
    said = [f"{name} {last[metric]:{digits}}" for metric, (name, digits) in FIGURES.items() if metric in last]
    return f"{', '.join(said)} on val"


def draw_curves(log: list[dict[str, float]], target: Path) -> None:
    """Draw the loss and the first metric against iterations."""
    metric = next((metric for metric in FIGURES if any(metric in entry for entry in log)), next(iter(FIGURES)))
    name = FIGURES[metric][0]
    figure, (left, right) = _figure(1, 2, (9, 3.4))
    for axes, key, title in ((left, "loss", "training loss"), (right, metric, f"{name} on val")):
        entries = [entry for entry in log if key in entry]
        axes.plot([entry["step"] for entry in entries], [entry[key] for entry in entries], marker=".")
        axes.set_title(title)
        axes.set_xlabel("iterations")
        axes.grid(alpha=0.3)
    left.set_ylim(bottom=0)
    right.set_ylim(0, 100 if name.endswith("%") else 1)
    figure.savefig(target, dpi=120)


def predictions(runner: Runner, count: int) -> Iterator[Any]:
    """Yield the first `count` validation images with ground truth and the model's predictions, as data samples."""
    runner.model.eval()
    for batch in runner.val_dataloader:
        with torch.no_grad():
            for sample in runner.model.val_step(batch):
                yield sample
                count -= 1
                if count == 0:
                    return


def draw_contact_sheet(samples: list[Any], classes: Sequence[str], target: Path) -> None:
    """Draw pairs of ground truth (left) and predictions (right), three pairs a row."""
    pairs = 3
    rows = -(-len(samples) // pairs)
    figure, grid = _figure(rows, 2 * pairs, (2.2 * 2 * pairs, 2.4 * rows))
    cells = np.atleast_2d(grid).reshape(-1)
    for axes in cells:
        axes.axis("off")
    for index, sample in enumerate(samples):
        left, right = cells[2 * index : 2 * index + 2]
        image = _read_image(sample.img_path)
        if "pred_sem_seg" in sample:
            _draw_labels(left, right, image, sample)
        else:
            _draw_instances(left, right, image, sample, classes)
    for axes, title in zip(cells[: 2 * pairs], ["ground truth", "predictions"] * pairs, strict=True):
        axes.set_title(title, fontsize=8)
    figure.savefig(target, dpi=120)


def _draw_instances(left: Any, right: Any, image: np.ndarray, sample: Any, classes: Sequence[str]) -> None:
    truth, found = sample.gt_instances, sample.pred_instances
    found = found[found.scores >= LEAST_SCORE]
    found = found[nms(found.bboxes, found.scores, MOST_OVERLAP)]  # over all classes: the best guess for each digit
    _draw_boxes(left, image, truth.bboxes, [classes[label] for label in truth.labels], "lime")
    names = [f"{classes[label]} {score:.2f}" for label, score in zip(found.labels, found.scores, strict=True)]
    if "masks" in found and len(found):
        image = image.copy()
        image[found.masks.any(dim=0).cpu().numpy()] //= 2  # darkens the pixels under masks
    _draw_boxes(right, image, found.bboxes, names, "yellow")


def _draw_boxes(axes: Any, image: np.ndarray, boxes: Any, names: list[str], color: str) -> None:
    axes.imshow(image)
    axes.autoscale(False)
    corners = torch.as_tensor(getattr(boxes, "tensor", boxes)).cpu().tolist()
    for (left, top, right, bottom), name in zip(corners, names, strict=True):
        axes.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=color, linewidth=1)
        axes.text(left, top, name, color="black", backgroundcolor=color, fontsize=6, va="bottom", clip_on=True)


def _draw_labels(left: Any, right: Any, image: np.ndarray, sample: Any) -> None:
    for axes, labels in ((left, sample.gt_sem_seg), (right, sample.pred_sem_seg)):
        classes = labels.data[0].cpu().numpy()
        axes.imshow(image)
        shown = np.ma.masked_where((classes == 0) | (classes >= len(SEGMENTATION_CLASSES)), classes)
        axes.imshow(shown, cmap="tab10", vmin=1, vmax=len(SEGMENTATION_CLASSES) - 1, alpha=0.7, interpolation="nearest")
        for label in np.unique(shown.compressed()):
            row, column = np.argwhere(classes == label).mean(axis=0)
            axes.text(column, row, SEGMENTATION_CLASSES[label], color="white", fontsize=8, ha="center", va="center")


def _read_image(path: str) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB"))


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # draws to files, with or without a display
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns)
