"""Time backbones and alternatives to them: python tools/benchmark.py van_b2 --against installed --train."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where benchmarks/ lies

import mmvit  # noqa: F401  (its compat must be in place before mmdet is imported)
from benchmarks.cli import benchmark

if __name__ == "__main__":
    sys.exit(benchmark(sys.argv[1:], prog="tools/benchmark.py"))
