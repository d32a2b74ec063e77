"""Checks that are too long for the suite: python tools/long_checks.py {stock,swapped,random,suites}."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where benchmarks/ lies

import mmvit  # noqa: F401  (its compat must be in place before mmdet is imported)
from benchmarks.long_checks import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
