"""Count a config's parameters and multiply-adds: python tools/get_flops.py retinanet_pvt_small_coco --shape 800 1280."""

import sys

import mmvit  # noqa: F401  (its compat must be in place before mmdet is imported)
from mmvit.commands.get_flops import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], prog="tools/get_flops.py"))
