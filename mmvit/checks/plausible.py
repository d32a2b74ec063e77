"""Check of boxes that are valid one by one and implausible together: another convention, image size or unit."""

import numpy as np

MANY = 10  # number of boxes from which a pattern counts as proved
ROUNDING = 1.5  # pixels by which a box may exceed its image
OFTEN = 0.1  # share of boxes
LOOSE = 1.05  # factor by which an area may exceed width x height


def contradictions(bbox: np.ndarray, area: np.ndarray, sizes: np.ndarray, crowd: np.ndarray) -> tuple[list[str], list[str]]:
    """Return sentences about what is certainly wrong, and about what is implausible.

    Args:
        bbox: (N, 4), x, y, width, height in pixels.
        area: (N,), square pixels.
        sizes: (N, 2), width and height of each box's image.
        crowd: (N,), booleans.
    """
    sound = (bbox[:, 2:] > 0).all(axis=1) & (sizes > 0).all(axis=1)
    bbox, area, sizes, crowd = (values[sound] for values in (bbox, area, sizes, crowd))
    total = len(bbox)
    if not total:
        return [], []
    start, extent = bbox[:, :2], bbox[:, 2:]
    if (bbox <= 1).all():
        return [f"all {total} boxes lie within 0 and 1: fractions of the image. Multiply by its width and height"], []
    over = (start + extent > sizes + ROUNDING).any(axis=1)
    wrong: list[str] = []
    odd: list[str] = []
    if text := _corners(start, extent, area, sizes, over):
        (wrong if total >= MANY else odd).append(text)
    elif over.any():
        text = f"{over.sum()} of {total} boxes reach over their image by more than {ROUNDING} pixels, and are cut off there"
        turned = (start + extent <= sizes[:, ::-1] + ROUNDING).all()
        if turned and over.mean() > OFTEN:
            text += ". All of them fit if width and height of the images are exchanged: correct them"
        (wrong if turned and total >= MANY and over.mean() > OFTEN else odd).append(text)
    elif total >= 5 * MANY and (start + extent < sizes / 2).all():
        odd.append(
            f"all {total} boxes lie in the upper left quarter of their images, as boxes do that were drawn on smaller images"
        )
    if not wrong:
        large = (area > LOOSE * extent.prod(axis=1) + 1) & ~crowd
        if large.any():
            odd.append(f"{large.sum()} of {total} areas are more than width x height of their box")
    return wrong, odd


def _corners(start: np.ndarray, extent: np.ndarray, area: np.ndarray, sizes: np.ndarray, over: np.ndarray) -> str | None:
    """Return a sentence if the boxes look like x1 y1 x2 y2, which end after they begin and inside their image; else None."""
    if not ((extent > start).all() and (extent <= sizes + ROUNDING).all()):
        return None
    away = start.min(axis=1) > 1  # where the two conventions differ much
    by_corners = (extent - start).prod(axis=1)
    fits = np.abs(area - by_corners) <= 0.01 * by_corners + 1
    both = np.abs(area - extent.prod(axis=1)) <= 0.01 * extent.prod(axis=1) + 1
    shown = away.any() and (fits & ~both)[away].mean() > 0.9
    if over.mean() <= OFTEN and not shown:
        return None
    return (
        f"{over.sum()} of {len(over)} boxes reach over their image, and every box has its third number above the first and its "
        "fourth above the second: these look like x1 y1 x2 y2. COCO's are x, y, width, height: write x2 - x1 and y2 - y1"
    )
