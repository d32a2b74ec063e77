"""Write configs: python tools/make_config.py upernet_van_b3_cityscapes [NAME ...] [--out DIR] [--force], or --all."""

import sys

import mmvit  # noqa: F401  (its compat must be in place before mmengine is used)
from mmvit.commands.config import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], prog="tools/make_config.py"))
