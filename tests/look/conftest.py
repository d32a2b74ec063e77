"""The tiny trained models are those of the predictor's tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "predict"))
