"""Figures of binary segmentation from probabilities: S-measure, E-measure, weighted F, Dice, MAE.

Definitions: Fan et al. (arXiv 1708.00786) for S, Fan et al. (arXiv 1805.10421) for E, Margolin et al. (CVPR 2014) for weighted
F. As is usual in this field, a map is stretched to 0 to 1 first, E is the mean over 256 thresholds, and figures are averaged
over the images. The tests compare with PySODMetrics 1.6.2, which itself excludes the scikit-image that newer Pythons need.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy import ndarray
from scipy.ndimage import convolve, distance_transform_edt

EPS = np.spacing(1)
THRESHOLDS = 256
SMOOTHING = cv2.getGaussianKernel(7, 5.0)  # (7, 1)
CUTS = np.arange(1, 100) / 100  # thresholds of which one is chosen


def figures(found: ndarray, truth: ndarray) -> dict[str, float]:
    """Return the figures of one image: probabilities of the foreground (H, W), and where it is, booleans (H, W)."""
    found = stretched(found)
    return dict(
        S=s_measure(found, truth),
        E=e_measure(found, truth),
        wF=weighted_f(found, truth),
        MAE=float(np.abs(found - truth).mean()),
    )


def figures_of(labels: ndarray, predicted: ndarray, found: ndarray, ignored: int = 255) -> dict[str, float]:
    """Return Dice of the `predicted` mask and the other figures of one image, whose `labels` are 1 in the foreground.

    Ignored pixels count as background that was found.
    """
    seen, truth = labels != ignored, labels == 1
    return dict(Dice=dice(predicted & seen, truth), **figures(np.where(seen, found, 0), truth))


def means(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each figure over images."""
    return {name: round(float(np.mean([entry[name] for entry in found])), 4) for name in (found[0] if found else ())}


def stretched(found: ndarray) -> ndarray:
    """Return a map (H, W) with the range 0 to 1; a map of one value stays."""
    found = found.astype(np.float64)
    least, most = found.min(), found.max()
    return (found - least) / (most - least) if most > least else found


def dice(predicted: ndarray, truth: ndarray) -> float:
    """Return the Dice of two masks (H, W); 1 if both are empty."""
    total = int(predicted.sum()) + int(truth.sum())
    return 2 * int((predicted & truth).sum()) / total if total else 1.0


def dice_by_threshold(found: ndarray, truth: ndarray) -> ndarray:
    """Return the Dice (99,) of the masks `found > t` for t of 0.01, 0.02, ..., 0.99."""
    above = np.searchsorted(CUTS, found.ravel())  # number of thresholds that each pixel exceeds
    counts = (np.bincount(above[where], minlength=len(CUTS) + 1) for where in (truth.ravel(), slice(None)))
    inside, marked = (count[::-1].cumsum()[::-1][1:] for count in counts)
    total = marked + truth.sum()
    return np.where(total > 0, 2 * inside / np.maximum(total, 1), 1.0)


def nearest_best(curve: ndarray) -> float:
    """Return the threshold with the highest figure (99,); of several, the one nearest to one half."""
    best = CUTS[curve >= curve.max() - 1e-9]
    return round(float(best[np.abs(best - 0.5).argmin()]), 2)


def s_measure(found: ndarray, truth: ndarray) -> float:
    """Return the S-measure: half of how alike the objects are, half of how alike the regions are."""
    share = truth.mean()
    if share == 0:
        return float(1 - found.mean())
    if share == 1:
        return float(found.mean())
    objects = share * _object(found[truth]) + (1 - share) * _object(1 - found[~truth])
    return float(max(0.0, 0.5 * objects + 0.5 * _regions(found, truth)))


def _object(values: ndarray) -> float:
    mean = values.mean()
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + spread + EPS)


def _regions(found: ndarray, truth: ndarray) -> float:
    """Return the mean structural similarity of the four parts about the centre of the truth, weighted by their area."""
    rows, columns = np.nonzero(truth)
    y, x = int(np.round(rows.mean())) + 1, int(np.round(columns.mean())) + 1
    total = 0.0
    for part in np.s_[:y, :x], np.s_[:y, x:], np.s_[y:, :x], np.s_[y:, x:]:
        if found[part].size:
            total += found[part].size / found.size * _similarity(found[part], truth[part].astype(np.float64))
    return total


def _similarity(found: ndarray, truth: ndarray) -> float:
    x, y, count = found.mean(), truth.mean(), found.size
    free = max(count - 1, 1)
    spread = ((found - x) ** 2).sum() / free + ((truth - y) ** 2).sum() / free
    common = ((found - x) * (truth - y)).sum() / free
    above, below = 4 * x * y * common, (x**2 + y**2) * spread
    return above / (below + EPS) if above != 0 else float(below == 0)


def e_measure(found: ndarray, truth: ndarray) -> float:
    """Return the E-measure, averaged over thresholds: of pixels, how well deviations from the mean agree."""
    levels = (found * (THRESHOLDS - 1)).astype(np.uint8)
    inside = np.bincount(levels[truth], minlength=THRESHOLDS)[::-1].cumsum()  # foreground found at level 255, 254, ...
    outside = np.bincount(levels[~truth], minlength=THRESHOLDS)[::-1].cumsum()
    size, positive = truth.size, int(truth.sum())
    marked = inside + outside
    if positive == 0:
        scores = (size - marked).astype(np.float64)
    elif positive == size:
        scores = marked.astype(np.float64)
    else:
        mean, true = marked / size, positive / size
        cells = (
            (inside, 1 - mean, 1 - true),
            (outside, 1 - mean, -true),
            (positive - inside, -mean, 1 - true),
            (size - positive - outside, -mean, -true),
        )
        scores = sum(count * ((2 * a * b / (a**2 + b**2 + EPS) + 1) ** 2 / 4) for count, a, b in cells)
    return float((scores / (size - 1 + EPS)).mean())


def weighted_f(found: ndarray, truth: ndarray) -> float:
    """Return the weighted F-measure: errors near the object weigh less, and what is found far away weighs more."""
    if not truth.any():
        return 0.0
    distance, nearest = distance_transform_edt(~truth, return_indices=True)
    errors = np.abs(found - truth)
    spread = errors.copy()
    spread[~truth] = errors[nearest[0][~truth], nearest[1][~truth]]
    smooth = convolve(spread, SMOOTHING @ SMOOTHING.T, mode="constant")
    least = np.where(truth & (smooth < errors), smooth, errors)
    weights = np.where(truth, 1.0, 2 - np.exp(np.log(0.5) / 5 * distance))
    weighted = least * weights
    hit = truth.sum() - weighted[truth].sum()
    missed = 1 - weighted[truth].mean()
    precision = hit / (hit + weighted[~truth].sum() + EPS)
    return float(2 * missed * precision / (missed + precision + EPS))
