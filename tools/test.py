"""Evaluate a checkpoint: python tools/test.py configs/retinanet_pvt_small_coco.py CHECKPOINT [--show-dir DIR] [--tta]."""

import os
import sys

if int(os.environ.get("LOCAL_WORLD_SIZE", 1)) > 1:  # before torch: waiting threads must not take the cores of other processes
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import mmvit  # noqa: F401  (its compat must be in place before mmdet is imported)
from mmvit.commands.training import evaluation

if __name__ == "__main__":
    sys.exit(evaluation(sys.argv[1:], prog="tools/test.py"))
