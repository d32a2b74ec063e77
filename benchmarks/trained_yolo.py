"""A peer of docs/results.md: a YOLO of ultralytics, from random weights, on a project of `mmvit new`.

    pip install ultralytics pycocotools    # in an environment of its own: AGPL-3.0, and its own OpenCV
    OMP_NUM_THREADS=1 python -m benchmarks.trained_yolo projects/bccd data/bccd --epochs 80

All settings but the size of images and vertical flips are its own. The best epoch on the validation pictures is evaluated by
pycocotools, as ours is.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
from ultralytics import YOLO

from .trained_peer import evaluate

SPLITS = ("train", "val", "test")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--model", default="yolo26n")
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--size", type=int, default=480, help="longer side of images")
    parser.add_argument("--out", type=Path, default=Path("yolo"))
    asked = parser.parse_args()
    annotations, out = asked.project / "annotations", asked.out.resolve()
    numbers = write_labels(annotations, asked.pictures, out)
    model = YOLO(f"{asked.model}.yaml")
    model.train(
        data=out / "data.yaml", epochs=asked.epochs, patience=0, imgsz=asked.size, flipud=0.5, pretrained=False, device="cpu",
        workers=0, plots=False, project=out, name="run", exist_ok=True,
    )  # fmt: skip
    best = YOLO(out / "run" / "weights" / "best.pt")

    def find(path: Path) -> tuple[np.ndarray, list[float], list[int]]:
        boxes = best.predict(path, imgsz=asked.size, conf=0.001, max_det=100, verbose=False)[0].boxes
        return boxes.xyxy.numpy(), boxes.conf.tolist(), [numbers[int(label)] for label in boxes.cls]

    for split in ("test", "val"):
        evaluate(find, annotations / f"{split}.json", asked.pictures)


def write_labels(annotations: Path, pictures: Path, out: Path) -> list[int]:
    """Write pictures and labels as YOLO wants them; return the number that each of its classes has in the annotation files."""
    categories = json.loads((annotations / "train.json").read_text(encoding="utf-8"))["categories"]
    numbers = [entry["id"] for entry in categories]
    for split in SPLITS:
        images, labels = out / "images" / split, out / "labels" / split
        images.mkdir(parents=True, exist_ok=True)
        labels.mkdir(parents=True, exist_ok=True)
        content = json.loads((annotations / f"{split}.json").read_text(encoding="utf-8"))
        for image in content["images"]:
            path = pictures / image["file_name"]
            shutil.copy(path, images)
            rows = []
            for entry in content["annotations"]:
                if entry["image_id"] == image["id"]:
                    x, y, width, height = entry["bbox"]
                    sides = ((x + width / 2, image["width"]), (y + height / 2, image["height"]))
                    sides += ((width, image["width"]), (height, image["height"]))
                    shares = " ".join(f"{value / whole:.6f}" for value, whole in sides)
                    rows.append(f"{numbers.index(entry['category_id'])} {shares}")
            (labels / f"{path.stem}.txt").write_text("\n".join(rows), encoding="utf-8")
    lines = [f"path: {out}", *(f"{split}: images/{split}" for split in SPLITS)]
    names = json.dumps([entry["name"] for entry in categories])
    (out / "data.yaml").write_text("\n".join([*lines, f"names: {names}"]), encoding="utf-8")
    return numbers


if __name__ == "__main__":
    main()
