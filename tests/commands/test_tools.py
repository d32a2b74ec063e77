"""The command lines as a user runs them: subprocesses in a folder of their own, true files, few iterations.

The file is long, because most tests share the work dir of one trained demo.
"""

import os
import pickle
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
import torch
from families import FAMILIES, released_state
from makers import HOME, write_coco
from mmengine.config import Config
from mmengine.registry import MODELS

from mmvit.weights.loading import load_pretrained
from mmvit.zoo import find

pytestmark = pytest.mark.stack

TINY = "configs/retinanet_pvt_tiny_coco.py"
EASY = [
    "model.test_cfg.score_thr=0.0",  # after four iterations nothing scores 0.05
    "val_dataloader.dataset.indices=12",
    "test_dataloader.dataset.indices=12",
]
SHORT = [
    *EASY,
    "train_cfg.max_iters=4",
    "train_cfg.val_interval=4",
    "default_hooks.checkpoint.interval=2",
    "default_hooks.logger.interval=1",
]
SMALL_IMAGES = [
    f"{split}_dataloader.dataset.pipeline.{at}.scale=(96,64)" for split, at in (("train", 2), ("val", 1), ("test", 1))
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder, with the repository's configs and tools in it."""
    folder = tmp_path_factory.mktemp("user")
    for name in ("configs", "tools"):
        (folder / name).symlink_to(HOME / name)
    return folder


def run(folder: Path, *words: str | Path, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == status, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def demo(folder: Path) -> str:
    """Output of a demo training of four iterations with everything on."""
    return run(folder, "tools/train.py", TINY, "--demo", "--tensorboard", "--cfg-options", *SHORT)


def test_demo_trains_evaluates_and_draws(folder: Path, demo: str) -> None:
    work_dir = folder / "work_dirs" / "retinanet_pvt_tiny_coco_demo"
    assert re.search(
        r"demo: AP50 0\.\d+, box AP 0\.\d+ on val after [\d.]+ min of training from random weights \(4 iterations", demo
    )
    assert re.search(r"Iter\(train\) \[4/4\].*loss: \d", demo), "plain lines when piped"
    assert "\x1b[" not in demo
    assert (work_dir / "iter_4.pth").is_file()
    for name in ("predictions.png", "curves.png"):
        assert (work_dir / name).read_bytes().startswith(b"\x89PNG")
    assert "images that training never saw, predicted as by: python -m mmvit predict" in demo
    assert len(list((work_dir / "unseen_predictions" / "overlays").glob("*.jpg"))) == 8
    assert list(work_dir.glob("*/vis_data/events.out.tfevents*"))
    assert (folder / "data" / "demo" / "coco" / "annotations" / "instances_val2017.json").is_file()


def test_checkpoint_is_evaluated_dumped_and_shown(folder: Path, demo: str) -> None:
    checkpoint = "work_dirs/retinanet_pvt_tiny_coco_demo/iter_4.pth"
    said = run(
        folder,
        "tools/test.py",
        TINY,
        checkpoint,
        "--demo",
        "--out",
        "predictions.pkl",
        "--show-dir",
        "shown",
        "--cfg-options",
        *EASY,
    )
    assert re.search(r"coco/bbox_mAP_50: 0\.\d+", said)
    with (folder / "predictions.pkl").open("rb") as file:
        assert len(pickle.load(file)) == 12
    assert len(list((folder / "shown").rglob("*.jpg"))) == 12
    said = run(folder, "tools/test.py", TINY, checkpoint, "--demo", "--tta", "--cfg-options", *EASY)
    assert re.search(r"coco/bbox_mAP_50: 0\.\d+", said)


def test_another_models_checkpoint_is_refused(folder: Path, demo: str) -> None:
    checkpoint = "work_dirs/retinanet_pvt_tiny_coco_demo/iter_4.pth"
    said = run(folder, "tools/test.py", TINY.replace("tiny", "small"), checkpoint, "--demo", status=2)
    assert f"error: {checkpoint} does not fit the model of this config" in said
    assert "missing in the file: backbone.stages.0.blocks.2.norm1.weight" in said


def test_killed_training_resumes(folder: Path, demo: str) -> None:
    """The first half runs on a terminal, where a live bar stands for the plain lines; it is asked to end, and saves."""
    words = [
        "tools/train.py",
        TINY,
        "--demo",
        "--work-dir",
        "killed",
        "--cfg-options",
        "default_hooks.checkpoint.interval=2",
        "train_cfg.val_interval=100000",
        "default_hooks.logger.interval=1",
    ]
    marker = folder / "killed" / "last_checkpoint"
    shown = watch_until(marker, folder, [*words, "train_cfg.max_iters=100000"])
    assert re.search(r"/100000 .*loss \d\.\d+  lr \d\.\d+e-0\d  \d+ MB", shown)
    assert "Iter(train)" not in shown
    assert "SIGTERM: saving and stopping after this iteration" in shown
    saved = int(re.search(r"stopped after (\d+) iterations", shown)[1])
    assert Path(marker.read_text()) == folder / "killed" / "interrupted.pth"
    said = run(folder, *words, f"train_cfg.max_iters={saved + 2}", "--resume")
    assert re.search(rf"resumed epoch: 0, iter: {saved}\b", said)
    trained = [int(number) for number in re.findall(r"Iter\(train\) \[ *(\d+)/", said)]
    assert trained == [saved + 1, saved + 2]
    assert not (folder / "killed" / "interrupted.pth").exists()
    other = TINY.replace("tiny", "small")
    said = run(folder, "tools/train.py", other, "--demo", "--resume", marker.read_text(), status=2)
    assert "does not fit the model of this config" in said


def watch_until(marker: Path, folder: Path, words: list[str]) -> str:
    """Runs a tool on a pseudo-terminal, asks it to end once the file `marker` is there, and returns what it showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, *words], cwd=folder, stdout=theirs, env={**os.environ, "COLUMNS": "150"})
    os.close(theirs)
    shown = b""
    asked = False
    deadline = time.monotonic() + 300
    with suppress(OSError):  # which Linux raises once the tool has closed its end
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.2)[0]:
                shown += os.read(ours, 65536)
            if not asked and marker.is_file():
                process.send_signal(signal.SIGTERM)
                asked = True
    process.wait(60)
    os.close(ours)
    assert process.returncode == 128 + signal.SIGTERM
    return re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", shown).decode(errors="replace")


def test_two_processes_on_cpu(folder: Path, demo: str) -> None:
    said = run(
        folder,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "tools/train.py",
        TINY,
        "--demo",
        "--launcher",
        "pytorch",
        "--work-dir",
        "two",
        "--cfg-options",
        *SHORT,
        "train_dataloader.batch_size=1",
    )
    assert "GPU number: 2" in said  # mmengine's word for processes
    assert re.search(r"coco/bbox_mAP_50: 0\.\d+", said)
    assert (folder / "two" / "iter_4.pth").is_file()


SEGMENTED = ("aAcc", "mIoU", "mAcc")
PAIRED = {  # a leaf of each head on each dataset but RetinaNet, which all other tests are about, and what it reports
    "mask_rcnn_pvt_tiny_coco": ("coco/bbox_mAP", "coco/segm_mAP"),
    "upernet_van_b0_ade20k": SEGMENTED,
    "upernet_van_b2_cityscapes": SEGMENTED,
    "segformer_pvt_v2_b2_ade20k": SEGMENTED,
    "segformer_pvt_v2_b2_cityscapes": SEGMENTED,
    "fpn_van_b0_ade20k": SEGMENTED,
    "fpn_pvt_v2_b2_cityscapes": SEGMENTED,
}


def paired(name: str, iterations: int = 2) -> list[str]:
    """The words that follow the tool for a demo of a few iterations."""
    few = [f"{split}_dataloader.dataset.indices=4" for split in ("val", "test")]
    if "mask_rcnn" in name:
        few.append("model.test_cfg.rcnn.max_per_img=10")  # after two iterations all are found: a mask each takes its time
    elif "upernet" in name:
        few += [f"model.{head}.channels=32" for head in ("decode_head", "auxiliary_head")]  # its 512 take most of the time
    schedule = [f"train_cfg.max_iters={iterations}", f"train_cfg.val_interval={iterations}"]
    kept = [
        "default_hooks.checkpoint.interval=2",
        "default_hooks.checkpoint.max_keep_ckpts=2",
        "default_hooks.logger.interval=1",
    ]
    return ["--demo", "--cfg-options", *few, *schedule, *kept, "train_dataloader.batch_size=2"]


@pytest.fixture(scope="module")
def trained(folder: Path) -> Callable[[str], str]:
    """What a demo training of a config said, run when it is first asked for."""

    @cache
    def train(name: str) -> str:
        return run(folder, "tools/train.py", f"configs/{name}.py", *paired(name))

    return train


def reported(said: str, name: str) -> list[float]:
    """The last figures of a config's kind."""
    return [float(re.findall(rf"{figure}: (-?\d+\.\d+)", said)[-1]) for figure in PAIRED[name]]


@pytest.mark.parametrize("name", PAIRED)
def test_each_head_trains_and_evaluates(folder: Path, trained: Callable[[str], str], name: str) -> None:
    said = trained(name)
    assert re.search(r"Iter\(train\) \[2/2\].*loss: \d", said)
    assert all(0 <= figure <= 100 for figure in reported(said, name))
    told = "AP50 .*, box AP .*, mask AP" if "mask_rcnn" in name else "mIoU % .*, mAcc % .*, aAcc %"
    assert re.search(rf"demo: {told} [\d.]+ on val after .* \(2 iterations", said)
    for drawn in ("predictions.png", "curves.png"):
        assert (folder / "work_dirs" / f"{name}_demo" / drawn).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", PAIRED)
def test_each_head_resumes(folder: Path, trained: Callable[[str], str], name: str) -> None:
    trained(name)
    said = run(folder, "tools/train.py", f"configs/{name}.py", "--resume", *paired(name, 3))
    assert re.search(r"resumed epoch: 0, iter: 2\b", said)
    assert re.findall(r"Iter\(train\) \[ *(\d+)/", said) == ["3"]
    assert all(0 <= figure <= 100 for figure in reported(said, name))


@pytest.mark.parametrize("name", ["mask_rcnn_pvt_tiny_coco", "fpn_van_b0_ade20k"])
def test_views_are_merged_dumped_and_shown(folder: Path, trained: Callable[[str], str], name: str) -> None:
    trained(name)
    out = folder / f"{name}.pkl" if "mask_rcnn" in name else folder / f"{name}_maps"
    drawn = folder / f"{name}_shown"
    words = [f"work_dirs/{name}_demo/iter_2.pth", "--tta", "--out", out, "--show-dir", drawn, *paired(name)]
    said = run(folder, "tools/test.py", f"configs/{name}.py", *words)
    assert all(0 <= figure <= 100 for figure in reported(said, name))
    if "mask_rcnn" in name:
        with out.open("rb") as file:
            dumped = [image["pred_instances"] for image in pickle.load(file)]
        assert [len(found["masks"]) for found in dumped] == [len(found["scores"]) for found in dumped]
        assert all(mask["size"] == [96, 96] for found in dumped for mask in found["masks"])
    else:
        assert len(list(out.glob("*.png"))) == 4
    assert len(list(drawn.rglob("*.[jp][pn]g"))) == 4


@pytest.fixture
def coco(folder: Path) -> Path:
    root = folder / "data" / "coco"
    if not root.exists():
        write_coco(root, images=4)
    return root


def test_coco_folder_trains_from_the_authors_file(folder: Path, coco: Path) -> None:
    model = FAMILIES[0].build("tiny")
    torch.save(released_state(FAMILIES[0], model), folder / "pvt_tiny.pth")
    said = run(
        folder,
        "tools/train.py",
        TINY,
        "--cfg-options",
        "model.backbone.init_cfg.checkpoint=pvt_tiny.pth",
        "train_cfg.max_epochs=1",
        "default_hooks.logger.interval=1",
        *SMALL_IMAGES,
    )
    assert f"pvt_tiny.pth: {len(model.state_dict())} tensors loaded, 5 dropped, 0 missing" in said
    assert re.search(r"Epoch\(train\) +\[1\]\[2/2\]", said)
    work_dir = folder / "work_dirs" / "retinanet_pvt_tiny_coco"
    said = run(folder, "tools/test.py", TINY, work_dir / "epoch_1.pth", "--cfg-options", EASY[0], *SMALL_IMAGES)
    assert "coco/bbox_mAP_50" in said


ONCE = [
    pytest.param(name, marks=pytest.mark.once) for name in ("pvt_tiny", "pvt_v2_b0", "shunted_small", "t2t_vit_14", "volo_d1")
]


@pytest.mark.parametrize("name", [*ONCE, "van_b0"])
def test_each_family_trains_from_a_released_file(folder: Path, demo: str, name: str) -> None:
    config = f"configs/retinanet_{name}_coco.py"
    kind, arch = find(name)
    family = next(family for family in FAMILIES if family.kind is kind)
    whole = family.build(arch)
    whole.init_weights()
    torch.save({"state_dict": released_state(family, whole)}, folder / f"{name}.pth.tar")
    backbone = Config.fromfile(HOME / config).model.backbone
    report = load_pretrained(MODELS.build({**backbone, "init_cfg": None}), folder / f"{name}.pth.tar")
    said = run(
        folder,
        "tools/train.py",
        config,
        "--demo",
        "--cfg-options",
        f"model.backbone.init_cfg.checkpoint={name}.pth.tar",
        "train_cfg.max_iters=3",
        "train_cfg.val_interval=9",
        "default_hooks.logger.interval=1",
    )
    assert str(report).splitlines()[0].removeprefix(f"{folder}/") in said
    assert re.search(r"Iter\(train\) \[3/3\].*loss: \d", said)
    assert "training from the file of init_cfg (3 iterations" in said


def test_unreadable_image_is_named(folder: Path, coco: Path) -> None:
    victim = coco / "train2017" / "000000000002.jpg"
    whole = victim.read_bytes()
    victim.write_bytes(b"no image")
    try:
        said = run(
            folder,
            "tools/train.py",
            TINY,
            "--work-dir",
            "unreadable",
            "--cfg-options",
            "model.backbone.init_cfg=None",
            "train_cfg.max_epochs=1",
            *SMALL_IMAGES,
            status=2,
        )
    finally:
        victim.write_bytes(whole)
    assert said.strip().splitlines()[-1].startswith("error: image data/coco/train2017/000000000002.jpg: it cannot be decoded")


def test_nothing_there(folder: Path, tmp_path: Path) -> None:
    said = run(tmp_path, HOME / "tools" / "train.py", HOME / TINY, status=2)
    assert re.search(r"^error: dataset not found", said, re.MULTILINE)  # after what the forks remark on their own imports
    assert "Traceback" not in said
    said = run(
        tmp_path, HOME / "tools" / "train.py", HOME / TINY, "--cfg-options", "custom_hooks=[dict(type='EMAHook')]", status=2
    )
    assert "was not understood" in said


def test_users_own_config_through_mmdets_script(folder: Path, coco: Path) -> None:
    """A config of the user's on mmdet's bases, run by the script that mmdet ships, after `import mmvit`."""
    import mmdet

    (folder / "own.py").write_text(
        "_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', 'mmdet::_base_/datasets/coco_detection.py',\n"
        "          'mmdet::_base_/schedules/schedule_1x.py', 'mmdet::_base_/default_runtime.py']\n"
        "model = dict(\n"
        "    backbone=dict(_delete_=True, type='mmvit.PVT', arch='tiny', frozen_stages=1),\n"
        "    neck=dict(in_channels=[64, 128, 320, 512]))\n"
    )
    script = Path(mmdet.__file__).parent / ".mim" / "tools" / "train.py"
    (folder / "own_train.py").write_text(
        f"import mmvit\nimport runpy\n\nrunpy.run_path({str(script)!r}, run_name='__main__')\n"
    )
    said = run(
        folder, "own_train.py", "own.py", "--work-dir", "own", "--cfg-options", "train_cfg.max_epochs=1", EASY[0], *SMALL_IMAGES
    )
    assert re.search(r"coco/bbox_mAP_50: -?\d", said)
    assert os.path.getsize(folder / "own" / "epoch_1.pth") > 1e6
