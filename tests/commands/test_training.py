"""Commands `train` and `test` in this process, on true files, a few iterations each."""

import json
import pickle
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from commands.runs import EASY, PAIRED, SHORT, SMALL_IMAGES, TINY, command, paired, run, small_demo, user_folder
from families import FAMILIES, released_state
from makers import HOME, tiers, write_coco

pytestmark = pytest.mark.stack
FIRST = "fpn_van_b0_ade20k"
MASKS = "mask_rcnn_pvt_tiny_coco"
PVT = FAMILIES[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with small_demo():
        yield user_folder(tmp_path_factory.mktemp("user"))


@pytest.fixture(scope="module")
def demo(folder: Path) -> str:
    """Output of a demo training of four iterations with everything on."""
    return command(folder, "train", TINY, "--demo", "--tensorboard", "--cfg-options", *SHORT)


@pytest.fixture
def checkpoint(demo: str) -> str:
    return f"work_dirs/{TINY}_demo/iter_4.pth"


def test_demo_trains_evaluates_and_draws(folder: Path, demo: str) -> None:
    work_dir = folder / "work_dirs" / f"{TINY}_demo"
    assert re.search(r"demo: [\d.]+ min of training from random weights \(4 iterations", demo)
    assert re.search(r"Iter\(train\) \[4/4\].*loss: \d", demo), "plain lines when piped"
    assert "\x1b[" not in demo
    assert (work_dir / "iter_4.pth").is_file()
    for name in ("predictions.png", "curves.png"):
        assert (work_dir / name).read_bytes().startswith(b"\x89PNG")
    assert "images that training never saw, predicted as by: python -m mmvit predict" in demo
    assert len(list((work_dir / "unseen_predictions" / "overlays").glob("*.jpg"))) == 8
    assert list(work_dir.glob("*/vis_data/events.out.tfevents*"))
    assert (folder / "data" / "demo" / "coco" / "annotations" / "instances_val2017.json").is_file()


def test_checkpoint_is_evaluated_dumped_and_shown(folder: Path, checkpoint: str) -> None:
    shown = ["--out", "predictions.pkl", "--show-dir", "shown"]
    said = command(folder, "test", TINY, checkpoint, "--demo", *shown, "--cfg-options", *EASY)
    assert re.search(r"coco/bbox_mAP_50: 0\.\d+", said)
    with (folder / "predictions.pkl").open("rb") as file:
        assert len(pickle.load(file)) == 4
    assert len(list((folder / "shown").rglob("*.jpg"))) == 4


def test_another_models_checkpoint_is_refused(folder: Path, checkpoint: str) -> None:
    for words in (
        ["test", TINY.replace("tiny", "small"), checkpoint],
        ["train", "retinanet_pvt_small_coco", "--resume", checkpoint],
    ):
        said = command(folder, *words, "--demo", status=2)
        assert f"error: {checkpoint} does not fit the model of this config" in said
        assert "missing in the file: backbone.stages.0.blocks.2.norm1.weight" in said


@pytest.fixture(scope="module")
def trained(folder: Path) -> Callable[[str], str]:
    """What a demo training of a config said, run when it is first asked for."""
    return cache(lambda name: command(folder, "train", name, *paired(name)))


def reported(said: str, name: str) -> list[float]:
    """Return the last figures of a config's kind."""
    return [float(re.findall(rf"{figure}: (-?\d+\.\d+)", said)[-1]) for figure in PAIRED[name]]


@pytest.mark.parametrize("name", tiers(PAIRED, FIRST.__eq__))
def test_each_head_trains_and_evaluates(folder: Path, trained: Callable[[str], str], name: str) -> None:
    said = trained(name)
    assert re.search(r"Iter\(train\) \[2/2\].*loss: \d", said)
    assert all(0 <= figure <= 100 for figure in reported(said, name))
    results = json.loads((folder / "work_dirs" / f"{name}_demo" / "results.json").read_text(encoding="utf-8"))
    (validation,) = results["validations"]
    assert validation["metrics"].keys() >= set(PAIRED[name])
    if not name.endswith("coco"):  # CocoMetric measures classes where it is asked to
        assert all(figures.keys() >= {"IoU", "Acc"} for figures in validation["by_class"].values())
        assert re.search(r"^class \(iteration 2\) +IoU", said, re.MULTILINE)
    assert f"next: python -m mmvit predict work_dirs/{name}_demo/" in said
    assert all(re.search(rf"^{metric} +(\d|none)", said, re.MULTILINE) for metric in PAIRED[name])
    assert re.search(r"demo: .* min of training .* \(2 iterations", said)
    for drawn in ("predictions.png", "curves.png"):
        assert (folder / "work_dirs" / f"{name}_demo" / drawn).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("name", [FIRST, MASKS])
def test_each_head_resumes(folder: Path, trained: Callable[[str], str], name: str) -> None:
    trained(name)
    said = command(folder, "train", name, "--resume", *paired(name, 3))
    assert re.search(r"^weights +resumed from work_dirs/\S+\s+at\s+iteration\s+2$", said, re.MULTILINE)
    assert re.findall(r"Iter\(train\) \[ *(\d+)/", said) == ["3"]
    assert all(0 <= figure <= 100 for figure in reported(said, name))


@pytest.mark.parametrize("name", tiers((FIRST, MASKS), FIRST.__eq__))
def test_views_are_merged_dumped_and_shown(folder: Path, trained: Callable[[str], str], name: str) -> None:
    trained(name)
    out = folder / f"{name}.pkl" if "mask_rcnn" in name else folder / f"{name}_maps"
    drawn = folder / f"{name}_shown"
    words = [f"work_dirs/{name}_demo/iter_2.pth", "--tta", "--out", out, "--show-dir", drawn, *paired(name)]
    said = command(folder, "test", name, *words)
    assert re.search(r"^model +\w+ on ", said, re.MULTILINE)
    assert "TTAModel" not in said
    assert all(0 <= figure <= 100 for figure in reported(said, name))
    if "mask_rcnn" in name:
        with out.open("rb") as file:
            dumped = [image["pred_instances"] for image in pickle.load(file)]
        assert [len(found["masks"]) for found in dumped] == [len(found["scores"]) for found in dumped]
        assert all(mask["size"] == [96, 96] for found in dumped for mask in found["masks"])
    else:
        assert len(list(out.glob("*.png"))) == 4
    assert len(list(drawn.rglob("*.[jp][pn]g"))) == 4


@pytest.fixture(scope="module")
def coco(folder: Path) -> Path:
    """A dataset; beside it `own.py`, a config of a tiny backbone that begins from `own.pth`, the authors' file of it."""
    write_coco(folder / "data" / "coco", images=4)
    sizes, narrow = PVT.tiny, "in_channels=16, feat_channels=16, stacked_convs=1"
    backbone = f"arch=dict(_delete_=True, **{sizes}), init_cfg=dict(checkpoint='own.pth')"
    model = f"backbone=dict({backbone}), neck=dict(in_channels={sizes['dims']}, out_channels=16), bbox_head=dict({narrow})"
    (folder / "own.py").write_text(f"_base_ = 'mmvit::{TINY}.py'\nmodel = dict({model})\n", encoding="utf-8")
    torch.save({"state_dict": released_state(PVT, PVT.build())}, folder / "own.pth")
    return folder / "data" / "coco"


def test_coco_folder_trains_from_the_authors_file(folder: Path, coco: Path) -> None:
    changes = ["train_cfg.max_epochs=1", "default_hooks.logger.interval=1"]
    said = command(folder, "train", "own.py", "--cfg-options", *changes, *SMALL_IMAGES)
    assert f"own.pth: {len(PVT.build().state_dict())} tensors loaded, 5 dropped, 0 missing" in said
    first, found, _ = said.partition("Epoch(train)")
    assert found
    assert len(first.splitlines()) <= 16, "the last is the beginning of the iteration's"
    assert re.findall(r"^([a-z]+) ", first, re.MULTILINE)[:5] == ["model", "weights", "data", "schedule", "device"]
    log = next((folder / "work_dirs" / "own").glob("*/*.log")).read_text(encoding="utf-8")
    for rest in ("System environment", "Config:", "Hooks will be executed", "paramwise_options"):
        assert rest in log
        assert rest not in said
    said = command(folder, "test", "own.py", "work_dirs/own/epoch_1.pth", "--cfg-options", EASY[0], *SMALL_IMAGES)
    assert "coco/bbox_mAP_50" in said


def test_demo_trains_from_a_released_file(folder: Path, coco: Path) -> None:
    changes = ["model.backbone.init_cfg.checkpoint=own.pth", "train_cfg.max_iters=1", "train_cfg.val_interval=9"]
    said = command(folder, "train", "own.py", "--demo", "--cfg-options", *SHORT, *changes)
    assert "own.pth: " in said
    assert "training from the file of init_cfg (1 iteration, " in said


def test_unreadable_image_is_named(folder: Path, coco: Path) -> None:
    victim = coco / "train2017" / "000000000002.jpg"
    whole = victim.read_bytes()
    victim.write_bytes(b"no image")
    words = ["--work-dir", "unreadable", "--cfg-options", "model.backbone.init_cfg=None", "train_cfg.max_epochs=1"]
    try:
        said = command(folder, "train", "own.py", *words, *SMALL_IMAGES, status=2)
    finally:
        victim.write_bytes(whole)
    assert "error: image data/coco/train2017/000000000002.jpg: it cannot be decoded" in said


def test_nothing_there(tmp_path: Path) -> None:
    said = run(tmp_path, HOME / "tools" / "train.py", HOME / "configs" / f"{TINY}.py", status=2)
    assert "\n- dataset not found" in said.partition("error: ")[2]  # after what the forks remark on their own imports
    assert "Traceback" not in said
    said = command(tmp_path, "train", TINY, "--cfg-options", "custom_hooks=[dict(type='EMAHook')]", status=2)
    assert "was not understood" in said
