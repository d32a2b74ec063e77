"""Pictures of annotated and found objects."""

import numpy as np

from mmvit.predict.drawing import draw
from mmvit.predict.results import Detections


def test_annotations_are_drawn_without_a_score() -> None:
    image = np.zeros((300, 300, 3), np.uint8)
    box = np.array([[20, 100, 280, 280]], np.float32)
    plates = []
    for score in (np.nan, 1.0):
        found = Detections("x", (300, 300), box, np.array([score]), np.zeros(1, int), ("tree",))
        plates.append(int((draw(image, found, ((0, 200, 0),))[60:100] == (0, 200, 0)).all(axis=-1).sum()))
    assert 0 < plates[0] < 0.7 * plates[1]  # a name alone is shorter than a name with a number
