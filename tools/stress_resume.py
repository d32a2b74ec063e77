"""Kill trainings at random moments and check that nothing is lost: python tools/stress_resume.py [CONFIG] [--kills 100]."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where benchmarks/ lies

import mmvit  # noqa: F401  (its compat must be in place before mmdet is imported)
from benchmarks.stress import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
