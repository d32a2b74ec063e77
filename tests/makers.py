"""What tests of several rooms make: paths, parametrisations, datasets."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import mmengine.config.config
import pytest
import yapf.yapflib.yapf_api
from families import FAMILIES
from mmdet.datasets import CocoDataset
from PIL import Image

from mmvit.compat import versions
from mmvit.recipes.tables import DATASETS, PAIRINGS, Leaf

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HOME = Path(__file__).parent.parent  # of the repository
PROJECT = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Each head on each dataset, the families in turn: what the first tier takes of the grid of all configs.
FEW = [
    Leaf(head, family.kind.record.name, family.kind.record.small, data)
    for (head, data), family in zip(
        (pair for pair in PAIRINGS if not DATASETS[pair[1]].families), cycle(FAMILIES), strict=False
    )
] + [Leaf("upernet", "pvt_v2", "b2", "binary")]


def tiers(values: Iterable[Any], first: Callable[[Any], bool], name: Callable[[Any], str] = str) -> list[Any]:
    """Return the values of a parametrisation: `first` tells those of the first tier, all others are slow."""
    slow = [pytest.mark.slow, pytest.mark.once]
    return [pytest.param(value, id=name(value), marks=[] if first(value) else slow) for value in values]


def leave_unformatted() -> None:
    """Show and save configs as they are: yapf would take a second for each, half the time of a tiny training."""
    for module in (mmengine.config.config, yapf.yapflib.yapf_api):  # the stacks import it at different places
        module.FormatCode = lambda code, **_: (code, False)  # type: ignore[attr-defined]


def run_python(
    *words: str | Path, cwd: Path | None = None, status: int = 0, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with some words in a process of its own, which has to end with a status."""
    command = [sys.executable, *map(str, words)]
    whole = {**os.environ, **environment}
    done = subprocess.run(command, cwd=cwd, env=whole, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == status, done.stdout[-3000:] + done.stderr[-3000:]
    return done


class Planted:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.target),)


def stem(path: Path) -> str:
    return path.stem


# What the generator writes is compared for all configs; most of what is in one depends on its head, dataset and family.
each_pairing = pytest.mark.parametrize("path", [HOME / "configs" / f"{leaf.name}.py" for leaf in FEW], ids=stem)
needs_compiling, needs_exporting, needs_heads, needs_programs = (
    pytest.mark.needs(feature) for feature in (versions.COMPILING, versions.EXPORTING, versions.HEADS, versions.PROGRAMS)
)
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def write_coco(root: Path, names: Sequence[str] = CocoDataset.METAINFO["classes"], images: int = 2) -> None:
    for split in ("train2017", "val2017"):
        (root / split).mkdir(parents=True)
        content = dict(
            images=[dict(id=i, file_name=f"{i:012d}.jpg", width=96, height=64) for i in range(images)],
            annotations=[
                dict(id=1 + i, image_id=i, category_id=1 + i % len(names), bbox=[8, 8, 40, 48], area=1920, iscrowd=0)
                for i in range(images)
            ],
            categories=[dict(id=1 + i, name=name) for i, name in enumerate(names)],
        )
        for image in content["images"]:
            Image.new("RGB", (96, 64), (90, 120, 40)).save(root / split / image["file_name"])
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
