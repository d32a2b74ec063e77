"""Commands as tests run them: in this process, or as a user does in one of their own."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path

import pytest
from makers import HOME, run_python
from mmengine.visualization import Visualizer

from mmvit.__main__ import main
from mmvit.demo import dataset, recipe
from mmvit.demo.spec import DemoSpec

TINY = "retinanet_pvt_tiny_coco"
EASY = [
    "model.test_cfg.score_thr=0.0",  # after four iterations nothing scores 0.05
    "val_dataloader.dataset.indices=4",
    "test_dataloader.dataset.indices=4",
]
SHORT = [
    *EASY,
    "train_dataloader.batch_size=2",
    "train_cfg.max_iters=4",
    "train_cfg.val_interval=4",
    "default_hooks.checkpoint.interval=2",
    "default_hooks.logger.interval=1",
]
SMALL_IMAGES = [
    f"{split}_dataloader.dataset.pipeline.{at}.scale=(96,64)" for split, at in (("train", 2), ("val", 1), ("test", 1))
]
SEGMENTED = ("aAcc", "mIoU", "mAcc")
PAIRED = {  # a config of each head but RetinaNet, which all other tests are about, and what it reports
    "mask_rcnn_pvt_tiny_coco": ("coco/bbox_mAP", "coco/segm_mAP"),
    "atss_shunted_small_coco": ("coco/bbox_mAP",),
    "gfl_pvt_v2_b2_coco": ("coco/bbox_mAP",),
    "dino_pvt_v2_b2_coco": ("coco/bbox_mAP",),
    "deformable_detr_pvt_small_coco": ("coco/bbox_mAP",),
    "rtmdet_van_b2_coco": ("coco/bbox_mAP",),
    "mask2former_instance_pvt_v2_b2_coco": ("coco/bbox_mAP", "coco/segm_mAP"),
    "mask2former_semantic_van_b2_ade20k": SEGMENTED,
    "upernet_van_b0_ade20k": SEGMENTED,
    "segformer_pvt_v2_b2_cityscapes": SEGMENTED,
    "fpn_van_b0_ade20k": SEGMENTED,
    "fpn_pvt_v2_b2_binary": (*SEGMENTED, "Dice", "MAE"),
}


def user_folder(folder: Path) -> Path:
    """Put the repository's configs and tools into a folder, as a user has them."""
    for name in ("configs", "tools"):
        (folder / name).symlink_to(HOME / name)
    return folder


@contextmanager
def small_demo() -> Iterator[None]:
    """Let commands in this process embed a few images instead of 1,300."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "build", partial(dataset.build, spec=DemoSpec(train_images=16, val_images=12)))
        yield


def run(folder: Path, *words: str | Path, status: int = 0) -> str:
    """Run Python with some words in a process of its own; return what it printed."""
    done = run_python(*words, cwd=folder, status=status)
    return done.stdout + done.stderr


def command(folder: Path, *words: str | Path, status: int = 0) -> str:
    """Run `mmvit` with some words in this process; return what it printed and logged."""
    for kind in (Visualizer, *Visualizer.__subclasses__()):
        kind._instance_dict.clear()  # mmengine would write the pictures of this run where the last one's are
    with pytest.MonkeyPatch.context() as patch, printed() as said:
        patch.chdir(folder)
        try:
            found = main([str(word) for word in words])
        except SystemExit as end:  # of a parser
            found = end.code
    assert found == status, said.getvalue()[-3000:]
    return said.getvalue()


@contextmanager
def printed() -> Iterator[io.StringIO]:
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        yield said


def paired(name: str, iterations: int = 2) -> list[str]:
    """Return the words that follow a config for a demo of a few iterations."""
    few = [f"{split}_dataloader.dataset.indices=4" for split in ("val", "test")]
    if "mask_rcnn" in name:
        few.append("model.test_cfg.rcnn.max_per_img=10")  # after two iterations all are found: a mask each takes its time
    elif name.startswith(("atss", "gfl")):
        few.append(EASY[0])
    elif "upernet" in name:
        few += [f"model.{head}.channels=32" for head in ("decode_head", "auxiliary_head")]  # its 512 take most of the time
    schedule = [f"train_cfg.max_iters={iterations}", f"train_cfg.val_interval={iterations}"]
    kept = [
        "default_hooks.checkpoint.interval=2",
        "default_hooks.checkpoint.max_keep_ckpts=2",
        "default_hooks.logger.interval=1",
    ]
    return ["--demo", "--cfg-options", *few, *schedule, *kept, "train_dataloader.batch_size=2"]
