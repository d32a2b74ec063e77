"""Report at the end of a demo run: metrics in one line, a contact sheet of predictions beside ground truth, and curves."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv import imread
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner, find_latest_checkpoint
from torchvision.ops import nms

from ..data.logs import read_scalars
from ..look.pictures import GREY, LEGEND, judged_pictures, label_picture
from ..measure.coco import Evaluation
from ..measure.errors import judge
from ..measure.objects import found_objects
from ..predict.drawing import require_drawing
from ..predict.results import Detections
from ..registry import HOOKS
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
        require_drawing()
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


def draw_contact_sheet(samples: Sequence[Any], classes: Sequence[str], target: Path) -> None:
    """Draw pairs of ground truth (left) and predictions (right), three pairs in a row."""
    from matplotlib.patches import Patch

    pairs, segments = 3, "pred_sem_seg" in samples[0]
    pictures = list(chain.from_iterable((_labels if segments else _objects)(samples, classes)))
    rows, ratio = -(-len(samples) // pairs), max(picture.shape[0] / picture.shape[1] for picture in pictures)
    figure, grid = _figure(rows, 2 * pairs, (3 * 2 * pairs, 3.1 * ratio * rows + 0.6))
    cells = np.atleast_2d(grid).reshape(-1)
    for axes, picture in zip(cells, pictures, strict=False):
        axes.imshow(picture[..., ::-1])
    for axes in cells:
        axes.axis("off")
    for axes, title in zip(cells[: 2 * pairs], ["ground truth", "predictions"] * pairs, strict=True):
        axes.set_title(title, fontsize=9)
    if not segments:
        handles = [Patch(color=f"#{bytes(colour).hex()}", label=name) for name, colour in LEGEND.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    figure.savefig(target, dpi=100)


def _objects(samples: Sequence[Any], classes: Sequence[str]) -> Iterator[list[np.ndarray]]:
    """Yield pictures of annotated and found objects, hits and misses told apart."""
    images = len(samples)
    truth = found_objects(_result(sample, sample.gt_instances, with_masks=False) for sample in samples)
    found = found_objects(_result(sample, _best(sample.pred_instances)) for sample in samples)
    judged = replace(judge(Evaluation(truth, found.without_masks(), images, len(classes))), found=found)
    for sample, theirs, ours in zip(samples, truth.rows(images), found.rows(images), strict=True):
        yield judged_pictures(imread(sample.img_path), judged, (theirs, ours), classes, LEAST_SCORE)


def _best(found: Any) -> Any:
    """Return the best guess for each object, of whatever class."""
    found = found[found.scores >= LEAST_SCORE]
    return found[nms(found.bboxes, found.scores, MOST_OVERLAP)]


def _result(sample: Any, objects: Any, with_masks: bool = True) -> Detections:
    boxes = torch.as_tensor(getattr(objects.bboxes, "tensor", objects.bboxes)).cpu().numpy()
    scores = objects.scores.cpu().numpy() if "scores" in objects else np.full(len(boxes), np.nan)
    masks = objects.masks.cpu().numpy() if with_masks and "masks" in objects else None
    return Detections(sample.img_path, sample.ori_shape, boxes, scores, objects.labels.cpu().numpy(), (), masks)


def _labels(samples: Sequence[Any], classes: Sequence[str]) -> Iterator[list[np.ndarray]]:
    """Yield pictures of true and predicted label maps."""
    for sample in samples:
        maps = [part.data[0].cpu().numpy().astype(np.uint8) for part in (sample.gt_sem_seg, sample.pred_sem_seg)]
        yield [label_picture(imread(sample.img_path), labels, classes, (GREY,)) for labels in maps]


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # draws to files, with or without a display
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns)
