"""Pictures that a training leaves."""

from pathlib import Path

import cv2
import pytest

from mmvit.look.report import draw_curves

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("figure", [None, -1.0, 0.0, 0.25])
def test_curves_without_a_figure_have_no_axis(tmp_path: Path, figure: float | None) -> None:
    log = [{"step": 1.0, "loss": 2.0}, {"step": 2.0, "loss": 1.5}]
    log += [] if figure is None else [{"step": 2.0, "coco/bbox_mAP": figure}]
    draw_curves(log, "coco/bbox_mAP", tmp_path / "curves.png")
    picture = cv2.imread(str(tmp_path / "curves.png"), cv2.IMREAD_GRAYSCALE)
    left, right = (half[40:] < 100 for half in (picture[:, : picture.shape[1] // 2], picture[:, picture.shape[1] // 2 :]))
    assert left.any(axis=1).mean() > 0.7, "an axis from top to bottom"
    measured = figure is not None and figure >= 0
    assert (right.any(axis=1).mean() > 0.7) == measured
