"""CPU seconds of whole commands: python -m benchmarks.commands [COMMIT].

`mmvit predict` beside mmdet's `DetInferencer`, on 100 pictures and on more; a training until its first step, and a training of
one step without validation; with a COMMIT, ours at that commit as well. Each is a process of its own with one thread, and they
take turns, in an order drawn by chance. CPU seconds differ less than seconds by what else a machine does. Pictures are small,
and the network is narrow, so that what surrounds it shows.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmvit.commands.options import at_least_one, exit_status
from mmvit.config.parts import without_init
from mmvit.errors import InputError

from .compare import HERE, checkout
from .measure import spread
from .records import HOME, machine
from .report import table

FEW = 100  # pictures, beside which more show what each costs in time and memory
SIZE = (96, 128)
CLASSES = ("one", "two")
SETTINGS = """\
_base_ = "mmvit::retinanet_pvt_v2_b0_coco.py"
metainfo = dict(classes=("one", "two"), palette=[(240, 60, 60), (60, 60, 240)])
narrow = dict(in_channels=32, feat_channels=32, stacked_convs=1)
model = dict(backbone=dict(init_cfg=None), neck=dict(out_channels=32), bbox_head=dict(num_classes=2, **narrow))
data = dict(data_root="ROOT/", metainfo=metainfo, ann_file="all.json", data_prefix=dict(img="all/"))
learn, small = [
    [dict(step, scale=(128, 96)) if step["type"] == "Resize" else step for step in pipeline]
    for pipeline in (_base_.train_pipeline, _base_.test_pipeline)
]
train_dataloader = dict(batch_size=1, num_workers=0, persistent_workers=False, dataset=dict(data, pipeline=learn))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(data, pipeline=small))
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(ann_file="ROOT/all.json")
train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=1, val_begin=2)  # nothing is validated
param_scheduler = []
"""
# Linux counts into the memory of a process what the one that started it had: a small one starts it, and tells what it used.
WATCH = """import json, os, subprocess, sys
started = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(started.pid, 0)
with open(sys.argv[1], "w") as file:
    json.dump([status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss], file)
"""
STOP = """import os
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
@HOOKS.register_module()
class Stop(Hook):
    def before_train_iter(self, *ignored, **named):
        os._exit(0)
"""
STOCK = (
    "import sys, mmvit; from mmdet.apis import DetInferencer; config, checkpoint, inputs, out = sys.argv[1:]; "
    "DetInferencer(config, checkpoint, device='cpu')(inputs, out_dir=out, no_save_vis=True, no_save_pred=False)"
)


class Cost(NamedTuple):
    seconds: float  # of CPU, of the process and its children
    memory: float  # at its peak, in MiB


def prepare(root: Path, pictures: int) -> None:
    """Write pictures of noise in two folders, their annotations, a config, and a checkpoint of random weights."""
    noise = np.random.default_rng(0)
    names = [f"{number:05d}.jpg" for number in range(pictures)]
    for folder, count in (("few", FEW), ("all", pictures)):
        (root / folder).mkdir()
        for name in names[:count]:
            cv2.imwrite(str(root / folder / name), noise.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    content = dict(
        images=[dict(id=number, file_name=name, height=SIZE[0], width=SIZE[1]) for number, name in enumerate(names, 1)],
        annotations=[
            dict(id=number, image_id=number, category_id=1 + number % 2, bbox=[8, 8, 40, 30], area=1200, iscrowd=0)
            for number in range(1, pictures + 1)
        ],
        categories=[dict(id=number, name=name) for number, name in enumerate(CLASSES, 1)],
    )
    (root / "all.json").write_text(json.dumps(content), encoding="utf-8")
    (root / "model.py").write_text(SETTINGS.replace("ROOT", root.as_posix()), encoding="utf-8")
    (root / "stop.py").write_text(STOP, encoding="utf-8")
    stopped = '_base_ = "model.py"\ncustom_imports = dict(imports=["stop"])\ncustom_hooks = [dict(type="Stop")]\n'
    (root / "stopped.py").write_text(stopped, encoding="utf-8")
    cfg = Config.fromfile(root / "model.py")
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(without_init(cfg.model))
    meta = dict(dataset_meta=dict(classes=CLASSES), cfg=cfg.pretty_text)
    torch.save(dict(state_dict=model.state_dict(), meta=meta), root / "model.pth")


def cost(words: Sequence[str], home: Path, root: Path) -> Cost:
    """Run a command with the mmvit of a folder, in an empty folder within `root`.

    Raises:
        InputError: it failed.
    """
    folder = root / "turn"
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": f"{home}{os.pathsep}{root}", "OMP_NUM_THREADS": "1"}
    watched = [sys.executable, "-c", WATCH, str(folder / "usage"), sys.executable, *words]
    with (folder / "output").open("w", encoding="utf-8") as output:
        subprocess.run(watched, cwd=folder, env=environment, stdout=output, stderr=output, check=True)
    status, seconds, kibibytes = json.loads((folder / "usage").read_text(encoding="utf-8"))
    if status:
        raise InputError(f"{' '.join(words)}: {(folder / 'output').read_text(encoding='utf-8')[-2000:]}")
    shutil.rmtree(folder)
    return Cost(seconds, kibibytes / 1024)


def candidates(root: Path, homes: dict[str, Path], pictures: int) -> dict[tuple[str, str], tuple[list[str], Path]]:
    """Return words and mmvit's folder of each command, by what it does and who does it."""
    config, checkpoint = str(root / "model.py"), str(root / "model.pth")
    found = {}
    for folder, count in (("few", FEW), ("all", pictures)):
        what, inputs = f"{count:,} pictures", str(root / folder)
        words = ["predict", config, checkpoint, inputs, "--no-overlays", "--out", "out"]
        found |= {(what, f"mmvit predict, {name}"): (["-m", "mmvit", *words], home) for name, home in homes.items()}
        found[what, "mmdet's DetInferencer"] = (["-c", STOCK, config, checkpoint, inputs, "out"], HOME)
    for what, file in (("a training until its first step", "stopped.py"), ("a training of one step", "model.py")):
        words = ["-m", "mmvit", "train", str(root / file), "--work-dir", "run"]
        found |= {(what, f"mmvit train, {name}"): (words, home) for name, home in homes.items()}
    return found


def run(asked: Namespace) -> None:
    with TemporaryDirectory(prefix="commands_") as folder, ExitStack() as stack:
        root, homes = Path(folder).resolve(), {HERE: HOME}
        if asked.commit:
            homes[asked.commit] = stack.enter_context(checkout(asked.commit))
        prepare(root, asked.pictures)
        listed = candidates(root, homes, asked.pictures)
        costs: dict[tuple[str, str], list[Cost]] = {name: [] for name in listed}
        for _ in range(asked.repeats):
            for name in random.sample(list(listed), len(listed)):
                costs[name].append(cost(*listed[name], root))
    lines = []
    for (what, who), found in costs.items():
        seconds = spread([each.seconds for each in found])
        row = f"{seconds.median:.1f}", seconds.quartiles(1), f"{max(each.memory for each in found):,.0f}"
        lines.append([what, who, *row])
    print(machine(), "", *table(("what", "command", "CPU s", "quartiles", "memory (MiB)"), lines), sep="\n")


def main(arguments: Sequence[str]) -> int:
    """Measure with the options of the command line; return the exit status."""
    parser = ArgumentParser("python -m benchmarks.commands", description="CPU seconds of whole commands.")
    parser.add_argument("commit", nargs="?", help="commit, branch or tag to measure as well, such as HEAD~1")
    parser.add_argument("--pictures", type=at_least_one, default=1000, help="pictures (default: %(default)s)")
    parser.add_argument("--repeats", type=at_least_one, default=3, help="turns (default: %(default)s)")
    return exit_status(run, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
