"""The recipe of docs/own_project.md: the toolkits' own scripts train with its configs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from house.pages import SHELL
from makers import HOME

pytestmark = [pytest.mark.stack, pytest.mark.slow]

PAGE = HOME / "docs" / "own_project.md"
DETECTOR = """
_base_ = "my_retinanet.py"
model = dict(backbone=dict(arch="b0", init_cfg=None), neck=dict(in_channels=[32, 64, 160, 256]))
load = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True)]
data = dict(
    data_root="data/demo/coco/",
    metainfo=dict(classes=tuple("0123456789")),
    pipeline=[load[0], dict(type="Resize", scale=(96, 96)), load[1], dict(type="PackDetInputs")],
)
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=data)
val_dataloader = test_dataloader = dict(num_workers=0, persistent_workers=False, dataset=data)
val_evaluator = test_evaluator = dict(ann_file="data/demo/coco/annotations/instances_val2017.json")
train_cfg = dict(max_epochs=1)
param_scheduler = []
"""
SEGMENTER = """
_base_ = "my_upernet.py"
model = dict(
    data_preprocessor=dict(size=(96, 96)),
    backbone=dict(arch="b0", init_cfg=None),
    decode_head=dict(in_channels=[32, 64, 160, 256], channels=16),
    auxiliary_head=dict(in_channels=160),
)
root = "data/demo/ade/ADEChallengeData2016"
steps = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", reduce_zero_label=True),
    dict(type="Resize", scale=(96, 96)),
    dict(type="PackSegInputs"),
]
loader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root=root, pipeline=steps))
train_dataloader = dict(batch_size=2, **loader)
val_dataloader = test_dataloader = loader
train_cfg = dict(max_iters=1, val_interval=1)
param_scheduler = []
"""


def run(*words: str, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(HOME)}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def project(folders: dict[Path, Path]) -> Path:
    """A folder with the page's configs, mmdet's and mmseg's scripts as the page makes them, and two images a split."""
    pytest.importorskip("sklearn")
    pytest.importorskip("skimage")
    from mmvit.demo.dataset import DemoSpec, build

    folder = folders[PAGE]
    build(folder / "data" / "demo", DemoSpec(train_images=2, val_images=2))
    (recipe,) = [block.text for block in SHELL if block.page == PAGE and ".mim" in block.text]
    run("bash", "-ec", recipe, folder=folder)
    return folder


@pytest.mark.parametrize(
    ("script", "config", "checkpoint"),
    [
        ("train_detector.py", DETECTOR, "work_dirs/my_retinanet/epoch_1.pth"),
        ("train_segmenter.py", SEGMENTER, "work_dirs/my_upernet/iter_1.pth"),
    ],
    ids=["mmdet", "mmseg"],
)
def test_stock_scripts_train(script: str, config: str, checkpoint: str, project: Path) -> None:
    """On the page's configs with a smaller arch: they train, validate and save."""
    (project / "tried.py").write_text(config)
    run(sys.executable, script, "tried.py", folder=project)
    assert (project / checkpoint).is_file()
