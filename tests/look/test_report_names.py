"""Names of classes in any script on the sheet that a training leaves."""

from pathlib import Path
from types import SimpleNamespace

import matplotlib.figure
import numpy as np
import pytest
import torch
from PIL import Image

from mmvit.look.report import draw_contact_sheet


class Sample(SimpleNamespace):
    def __contains__(self, name: str) -> bool:
        return name in vars(self)


@pytest.mark.stack
@pytest.mark.once
def test_names_without_a_font_are_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Matplotlib draws an empty box for a character that its own font lacks."""
    Image.fromarray(np.zeros((32, 48, 3), np.uint8)).save(tmp_path / "a.png")
    labels = SimpleNamespace(data=torch.arange(3).repeat_interleave(16 * 32).reshape(1, 32, 48))
    sample = Sample(img_path=str(tmp_path / "a.png"), gt_sem_seg=labels, pred_sem_seg=labels)
    legends, legend = [], matplotlib.figure.Figure.legend

    def keep(*given: object, **options: object) -> object:
        legends.append(legend(*given, **options))
        return legends[-1]

    monkeypatch.setattr(matplotlib.figure.Figure, "legend", keep)
    unwritable = "\U000f0000"  # a private character, which no font of a class's name has
    metainfo = dict(classes=("água", unwritable, "sky"), palette=[(9, 9, 9), (0, 200, 0), (0, 0, 200)])
    draw_contact_sheet([sample], metainfo, tmp_path / "sheet.png")
    assert [entry.get_text() for entry in legends[0].get_texts()] == ["água", "class 1", "sky"]
