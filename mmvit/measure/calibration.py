"""Whether scores are the probabilities that they look like."""

import numpy as np

BINS = 10


class Calibration:
    """Predictions by tenths of their scores: (10,) sums of the scores, numbers of correct predictions and of all."""

    def __init__(self) -> None:
        self.sums, self.right, self.numbers = np.zeros((3, BINS))

    def add(self, scores: np.ndarray, right: np.ndarray) -> None:
        """Count predictions: scores (N,) from 0 to 1, and whether each is correct (N,)."""
        place = np.minimum((scores * BINS).astype(int), BINS - 1)
        self.sums += np.bincount(place, scores, minlength=BINS)
        self.right += np.bincount(place, right, minlength=BINS)
        self.numbers += np.bincount(place, minlength=BINS)

    @property
    def scores(self) -> np.ndarray:
        """Mean score in each tenth, (10,); NaN for an empty one."""
        return self.sums / np.where(self.numbers > 0, self.numbers, np.nan)

    @property
    def shares(self) -> np.ndarray:
        """Share of correct predictions in each tenth, (10,); NaN for an empty one."""
        return self.right / np.where(self.numbers > 0, self.numbers, np.nan)

    @property
    def error(self) -> float:
        """Expected calibration error: the mean distance of score and share."""
        distances = np.nan_to_num(np.abs(self.scores - self.shares)) * self.numbers
        return float(distances.sum() / max(self.numbers.sum(), 1))
