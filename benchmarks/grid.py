"""`python -m benchmarks.grid FILE [CONFIG ...]`: whether each head trains, reloads, predicts and exports with each family.

A cell is a config of ours on a few of the demo's images, its backbone cut down to a few blocks: the widths, and all of the
head, are the config's. It trains by `mmvit.train`; the checkpoint is read again and compared with the model in memory;
`mmvit predict` uses it; and it is exported as ONNX, which compares the file with the model, or refused.
"""

import gc
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

import mmvit
from mmvit.checks.advice import describe
from mmvit.commands import predict
from mmvit.config.datasets import SPLITS
from mmvit.config.files import Variant
from mmvit.config.parts import mappings
from mmvit.demo import DemoSpec, build
from mmvit.demo.recipe import apply
from mmvit.errors import InputError
from mmvit.export.formats import Wanted, export
from mmvit.export.models import from_config
from mmvit.recipes.families import DROP_PATHS
from mmvit.recipes.tables import DATASETS, PAIRINGS, Leaf
from mmvit.zoo import families

from . import records
from .heads import FAILED, REFUSED, STEPS

ITERATIONS, BLOCKS, SIZE = 4, 4, (96, 96)
IMAGES = DemoSpec(train_images=16, val_images=4)
RECORDS = {kind.record.name: kind.record for kind in families()}
FAMILIES = [*DROP_PATHS]
CELLS = [  # all heads with one family each, then with another, so that a part of the run says something of all
    Leaf(head, family, RECORDS[family].small, data)
    for turn in range(len(FAMILIES))
    for row, (head, data) in enumerate(PAIRINGS)
    if data != "cityscapes"  # ADE20K's heads, on another crop
    and DATASETS[data].has(family := FAMILIES[(row + turn) % len(FAMILIES)])
]


@HOOKS.register_module()
class KeepHook(Hook):
    """Hook that keeps the trained model, a batch, and what it predicts on it."""

    priority = "LOWEST"
    kept: tuple[Any, Any, list[Any]]

    def after_train(self, runner: Runner) -> None:
        batch = next(iter(runner.val_dataloader))
        KeepHook.kept = runner.model, batch, outputs(runner.model, batch)


def outputs(model: Any, batch: Any) -> list[torch.Tensor]:
    """Return the tensors that a model predicts for a batch."""
    with torch.no_grad():
        results = model.eval().val_step(batch)
    names = ("pred_instances", "pred_sem_seg", "seg_logits")
    fields = [result.get(name) for result in results for name in names if name in result]
    return [value for one in fields for _, value in sorted(one.items()) if isinstance(value, torch.Tensor)]


class Trial:
    """Steps of a cell, each of which says what it found.

    Args:
        leaf: the config.
        folder: for its files, with the demo's images in `data`.
    """

    def __init__(self, leaf: Leaf, folder: Path) -> None:
        self.leaf, self.folder, self.data = leaf, folder, folder.parent / "data"
        self.checkpoint = folder / "no checkpoint"

    def trains(self) -> str:
        demo = Variant("grid", lambda cfg, _: self.change(cfg), lambda: build(self.data, IMAGES))
        found = mmvit.train(self.leaf.name, variant=demo, batch_size=2, work_dir=self.folder / "run")
        self.checkpoint = Path(found.checkpoint)
        return f"{found.iterations} iterations, loss {found.validations[-1].loss:.3f}"

    def change(self, cfg: Config) -> None:
        """Make the demo of a config short."""
        apply(cfg, self.data)
        sizes: Any = RECORDS[self.leaf.family].archs[self.leaf.arch]
        cfg.model.backbone.arch = asdict(replace(sizes, depths=[BLOCKS // len(sizes.depths)] * len(sizes.depths)))
        for part in mappings(cfg.model.get("test_cfg")):
            if "score_thr" in part:
                part["score_thr"] = 0.0  # so that an untrained model has predictions to compare
        cfg.train_cfg.max_iters = cfg.train_cfg.val_interval = cfg.default_hooks.checkpoint.interval = ITERATIONS
        cfg.param_scheduler = []
        cfg.custom_hooks = [dict(type="mmengine.KeepHook")]
        for split in SPLITS:
            cfg[f"{split}_dataloader"].update(num_workers=0, persistent_workers=False)

    def reloads(self) -> str:
        model, batch, wanted = KeepHook.kept
        again = mmvit.Predictor(None, self.checkpoint, device="cpu").loaded.model
        require_equal(again.state_dict(), model.state_dict())
        found = outputs(again, batch)
        require_equal(dict(enumerate(found)), dict(enumerate(wanted)))
        return f"{len(again.state_dict())} tensors and {sum(map(torch.numel, found)):,} predicted numbers are equal"

    def predicts(self) -> str:
        out, images = self.folder / "predictions", self.data / "binary/images/val"
        status = predict.main([str(self.checkpoint), str(images), "--out", str(out), "--score", "0", "--no-overlays"])
        if status:
            raise RuntimeError(f"mmvit predict ended with status {status}")
        content = json.loads((out / "predictions.json").read_text(encoding="utf-8"))
        objects, maps = len(content["annotations"]), sum("label_map" in image for image in content["images"])
        if not objects and maps < IMAGES.val_images:
            raise RuntimeError(f"{out}: neither objects nor a label map for each image")
        return f"{maps} label maps" if maps else f"{objects:,} objects in {len(content['images'])} images"

    def exports(self) -> str:
        try:
            exportable = from_config(None, self.checkpoint)
        except InputError as error:
            return REFUSED + str(error).removeprefix(f"{self.checkpoint}: ")
        return export(exportable, self.folder / "model.onnx", Wanted(size=SIZE))


def require_equal(found: dict, wanted: dict) -> None:
    """Raise RuntimeError unless two dictionaries of tensors are equal and not empty."""
    other = [*found.keys() ^ wanted.keys()]
    other += [name for name in found.keys() & wanted.keys() if not torch.equal(found[name], wanted[name])]
    if other or not wanted:
        raise RuntimeError(f"{len(other)} of {len(wanted)} tensors differ, such as {other[:1]}")


def cell(leaf: Leaf, folder: Path) -> dict[str, Any]:
    """Try a config; a step that fails ends it. Return its name, processor seconds, and what came of each step."""
    folder.mkdir()
    trial, said, began = Trial(leaf, folder), dict[str, str](), time.process_time()
    for step in STEPS:
        try:
            said[step] = getattr(trial, step)()
        except Exception as error:
            said[step] = FAILED + describe(error)
            break
    return dict(config=leaf.name, commit=records.commit(), seconds=round(time.process_time() - began), **said)


def main(words: Sequence[str]) -> None:
    """Try the named configs, or those that the file lacks, and write the file after each."""
    file, names = Path(words[0]), words[1:]
    found = {one["config"]: one for one in json.loads(file.read_text(encoding="utf-8"))["cells"]} if file.is_file() else {}
    command = f"python -m benchmarks.grid {file}"
    head = dict(machine=records.machine(), date=date.today().isoformat(), command=command)
    with TemporaryDirectory(prefix="grid_") as folder:
        for leaf in CELLS:
            if leaf.name in names if names else leaf.name not in found:
                found[leaf.name] = cell(leaf, Path(folder) / leaf.name)
                rmtree(Path(folder) / leaf.name)
                gc.collect()
                kept = [found[one.name] for one in CELLS if one.name in found]
                lines = ",\n".join(f"  {json.dumps(one)}" for one in kept)
                text = json.dumps(head, indent=1).removesuffix("\n}")
                file.write_text(f'{text},\n "cells": [\n{lines}\n ]\n}}\n', encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
