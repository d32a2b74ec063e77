"""What tests of several rooms make: paths, parametrisations, datasets."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from families import FAMILIES
from mmdet.datasets import CocoDataset
from PIL import Image

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HOME = Path(__file__).parent.parent  # of the repository
PROJECT = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def write_coco(root: Path, names: Sequence[str] = CocoDataset.METAINFO["classes"], images: int = 2) -> None:
    for split in ("train2017", "val2017"):
        (root / split).mkdir(parents=True)
        content = dict(
            images=[dict(id=i, file_name=f"{i:012d}.jpg", width=96, height=64) for i in range(images)],
            annotations=[
                dict(id=i, image_id=i, category_id=1 + i % len(names), bbox=[8, 8, 40, 48], area=1920, iscrowd=0)
                for i in range(images)
            ],
            categories=[dict(id=1 + i, name=name) for i, name in enumerate(names)],
        )
        for image in content["images"]:
            Image.new("RGB", (96, 64), (90, 120, 40)).save(root / split / image["file_name"])
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
