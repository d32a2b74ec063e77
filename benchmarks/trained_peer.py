"""A peer of docs/results.md: torchvision's RetinaNet R50 (v2), from random weights, on a project of `mmvit new`.

    OMP_NUM_THREADS=1 python -m benchmarks.trained_peer projects/bccd data/bccd --minutes 20

Batches of 4, AdamW at 5e-4 with a cosine, shorter sides from 192 to 300 pixels and flips in three directions, as in our run.
It trains for a time of its processor, not for epochs; the cosine ends with it.
"""

import argparse
import json
import random
import time
from collections.abc import Callable
from functools import partial
from math import cos, pi
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.models.detection import retinanet_resnet50_fpn_v2
from torchvision.transforms.functional import to_tensor

BATCH, RATE, CLIP, WARM_UP = 4, 5e-4, 10.0, 0.1
SIDES, SIDE = tuple(range(192, 301, 4)), 240  # shorter sides in training, and in the test


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--minutes", type=float, default=20.0, help="processor time of the training")
    asked = parser.parse_args()
    random.seed(0)
    torch.manual_seed(0)
    samples = read(asked.project / "annotations" / "train.json", asked.pictures)
    classes = max(int(label) for _, _, labels in samples for label in labels) + 1  # with the background
    model = retinanet_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes=classes, min_size=SIDES, max_size=400)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters")
    train(model, samples, asked.minutes * 60)
    model.eval()
    model.transform.min_size = (SIDE,)
    for split in ("test", "val"):
        evaluate(partial(found_by, model), asked.project / "annotations" / f"{split}.json", asked.pictures)


def read(file: Path, pictures: Path) -> list[tuple[Path, Tensor, Tensor]]:
    """Return path, boxes (N, 4) and labels (N,) of each picture."""
    content = json.loads(file.read_text(encoding="utf-8"))
    found = []
    for image in content["images"]:
        own = [entry for entry in content["annotations"] if entry["image_id"] == image["id"]]
        boxes = torch.tensor([entry["bbox"] for entry in own]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        found.append((pictures / image["file_name"], boxes, torch.tensor([entry["category_id"] for entry in own])))
    return found


def flipped(image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return an image (3, H, W) and its boxes as they are, or flipped in one or both directions."""
    for axis, share in ((2, random.random()), (1, random.random())):
        if share < 0.5:
            image, start = image.flip(axis), 2 - axis
            boxes = boxes.clone()
            boxes[:, [start, start + 2]] = image.shape[axis] - boxes[:, [start + 2, start]]
    return image, boxes


def train(model: torch.nn.Module, samples: list[tuple[Path, Tensor, Tensor]], seconds: float) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=1e-4)
    model.train()
    began, done, order = time.process_time(), 0, list(samples)
    while (share := (time.process_time() - began) / seconds) < 1:
        if done * BATCH % len(samples) < BATCH:
            random.shuffle(order)
        start = done * BATCH % (len(order) - BATCH)
        pairs = [(*flipped(to_tensor(Image.open(path)), boxes), labels) for path, boxes, labels in order[start : start + BATCH]]
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, share / WARM_UP) * (1 + cos(pi * share)) / 2
        losses = model([image for image, _, _ in pairs], [dict(boxes=boxes, labels=labels) for _, boxes, labels in pairs])
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        done += 1
        if done % 10 == 0:
            print(f"{done} iterations, {done * BATCH / len(samples):.1f} epochs, loss {float(total):.3f}", flush=True)


@torch.no_grad()
def found_by(model: torch.nn.Module, path: Path) -> tuple[np.ndarray, list[float], list[int]]:
    """Return corners (N, 4), scores and labels of what a model finds in a picture."""
    (result,) = model([to_tensor(Image.open(path))])
    return result["boxes"].numpy(), result["scores"].tolist(), result["labels"].tolist()


def evaluate(find: Callable[[Path], tuple[np.ndarray, list[float], list[int]]], file: Path, pictures: Path) -> None:
    """Print COCO's figures, and AP50 of each class."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, found = COCO(str(file)), []
    for number, image in truth.imgs.items():
        corners, scores, labels = find(pictures / image["file_name"])
        boxes = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]).tolist()
        rows = zip(boxes, scores, labels, strict=True)
        found += [dict(image_id=number, category_id=label, bbox=box, score=score) for box, score, label in rows]
    judge = COCOeval(truth, truth.loadRes(found), "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    for index, number in enumerate(judge.params.catIds):
        precision = judge.eval["precision"][:, :, index, 0, 2]
        print(f"{truth.cats[number]['name']}: AP {precision.mean():.3f}, AP50 {precision[0].mean():.3f}")


if __name__ == "__main__":
    main()
