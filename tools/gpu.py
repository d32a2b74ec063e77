"""Tests and times all backbones on a GPU: python tools/gpu.py [--device cpu --quick]; `make gpu` installs what it needs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where benchmarks/ lies

import mmvit  # noqa: F401  (its compat must be in place before mmdet is imported)
from benchmarks.gpu import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], prog="tools/gpu.py"))
