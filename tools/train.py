"""Train a detector or segmenter: python tools/train.py configs/retinanet_pvt_small_coco.py [--demo]."""

import os
import sys

if int(os.environ.get("LOCAL_WORLD_SIZE", 1)) > 1:  # before torch: waiting threads must not take the cores of other processes
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import mmvit  # noqa: F401  (its compat must be in place before mmdet is imported)
from mmvit.commands.training import training

if __name__ == "__main__":
    sys.exit(training(sys.argv[1:], prog="tools/train.py"))
