"""Evaluates a checkpoint: python tools/test.py configs/retinanet_pvt_small_coco.py CHECKPOINT [--show-dir DIR] [--tta]."""

import os
from argparse import ArgumentParser
from pathlib import Path

if int(os.environ.get("LOCAL_WORLD_SIZE", 1)) > 1:  # before torch: threads that wait must not take the other processes' cores
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import mmvit  # noqa: F401  (its compat must be in place before mmdet is imported)
from mmvit.engine.cli import add_common, options_from, run
from mmvit.engine.configuration import TestOptions
from mmvit.engine.launch import test


def parse(words: list[str] | None = None) -> TestOptions:
    parser = ArgumentParser(description=__doc__)
    add_common(parser)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, help="predictions: a .pkl file for detection, a folder of PNGs for segmentation")
    parser.add_argument("--show-dir", type=Path, help="folder for images with predictions beside ground truth")
    parser.add_argument("--tta", action="store_true", help="test-time augmentation: several scales and flips")
    return options_from(TestOptions, parser.parse_args(words))


if __name__ == "__main__":
    run(test, parse())
