"""Accuracy of exported files beside their checkpoint's, on the demo: python -m benchmarks.accuracy CONFIG CHECKPOINT FILE ...

Boxes are counted by pycocotools (AP and AP50 on COCO's scale), label maps as the mean intersection over union of all classes.
"""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import mmvit
from mmvit.commands.options import exit_status
from mmvit.demo.dataset import build
from mmvit.demo.recipe import ROOT, apply
from mmvit.errors import InputError
from mmvit.recipes.files import config_file, load_config


def main(arguments: Sequence[str]) -> int:
    """Measure with the options of the command line; return the exit status."""
    parser = ArgumentParser("python -m benchmarks.accuracy", description="Accuracy of exported files on the demo dataset.")
    parser.add_argument("config", help="name or file of the config that was trained with --demo")
    parser.add_argument("checkpoint", help="of that training")
    parser.add_argument("files", nargs="*", help="what `mmvit export` wrote of it")
    return exit_status(run, parser.parse_args(arguments))


def run(asked: Namespace) -> None:
    build(ROOT)
    cfg = load_config(config_file(asked.config))
    apply(cfg, ROOT)
    dataset = cfg.test_dataloader.dataset
    wanted = None
    for file in (asked.checkpoint, *asked.files):
        predictor = mmvit.Predictor(cfg if file == asked.checkpoint else None, file, device="cpu", score=0.0)
        found = mean_iou(predictor, dataset) if predictor.loaded.scope == "mmseg" else average_precision(predictor, dataset)
        wanted = wanted or found
        words = ", ".join(f"{name} {value:.4f} ({value - wanted[name]:+.4f})" for name, value in found.items())
        print(f"{file}: {words}", flush=True)


def average_precision(predictor: Any, dataset: Any) -> dict[str, float]:
    """Return AP and AP50 of boxes, and of masks where there are some."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(StringIO()):
        truth = COCO(str(Path(dataset.data_root) / dataset.ann_file))
        categories = truth.getCatIds()
        images = truth.loadImgs(truth.getImgIds())
        folder = Path(dataset.data_root) / dataset.data_prefix.img
        results = predictor([folder / image["file_name"] for image in images])
        entries = [
            dict(entry, segmentation=encoded(entry["segmentation"])) if "segmentation" in entry else entry
            for image, result in zip(images, results, strict=True)
            for entry in result.to_coco(image["id"], categories)
        ]
        if not entries:
            raise InputError("no objects were found at all: is this the checkpoint of a demo training?")
        found = {}
        for kind in ("bbox", "segm") if "segmentation" in entries[0] else ("bbox",):
            evaluation = COCOeval(truth, truth.loadRes(json.loads(json.dumps(entries))), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            found |= {f"{kind} AP": float(evaluation.stats[0]), f"{kind} AP50": float(evaluation.stats[1])}
    return found


def encoded(mask: dict[str, Any]) -> dict[str, Any]:
    """Return uncompressed run lengths as compressed ones."""
    from pycocotools import mask as masks

    coded = masks.frPyObjects(mask, *mask["size"])
    return dict(coded, counts=coded["counts"].decode())


def mean_iou(predictor: Any, dataset: Any) -> dict[str, float]:
    """Return the mean over classes of intersection over union."""
    root = Path(dataset.data_root)
    images = sorted((root / dataset.data_prefix.img_path).rglob("*.jpg"))
    classes = len(predictor.classes)
    table = np.zeros((classes, classes), np.int64)
    for image, result in zip(images, predictor(images), strict=True):
        file = root / dataset.data_prefix.seg_map_path / f"{image.stem}.png"
        truth = np.asarray(Image.open(file)).astype(np.int64) - 1  # as reduce_zero_label does
        inside = (truth >= 0) & (truth < classes)
        table += np.bincount(truth[inside] * classes + result.labels[inside], minlength=classes**2).reshape(classes, classes)
    union = table.sum(axis=0) + table.sum(axis=1) - table.diagonal()
    return dict(mIoU=float((table.diagonal()[union > 0] / union[union > 0]).mean()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
