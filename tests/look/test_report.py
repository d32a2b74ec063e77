"""Pictures that a training leaves."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import matplotlib.axes
import matplotlib.figure
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook
from PIL import Image

from mmvit.config.work_dirs import joined, read_scalars
from mmvit.look.report import draw_contact_sheet, draw_curves, predictions

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("figure", [None, -1.0, 0.0, 0.25])
def test_curves_without_a_figure_have_no_axis(tmp_path: Path, figure: float | None) -> None:
    log = [{"step": 1.0, "loss": 2.0}, {"step": 2.0, "loss": 1.5}]
    log += [] if figure is None else [{"step": 2.0, "coco/bbox_mAP": figure}]
    draw_curves(log, "coco/bbox_mAP", "greater", tmp_path / "curves.png")
    picture = cv2.imread(str(tmp_path / "curves.png"), cv2.IMREAD_GRAYSCALE)
    left, right = (half[40:] < 100 for half in (picture[:, : picture.shape[1] // 2], picture[:, picture.shape[1] // 2 :]))
    assert left.any(axis=1).mean() > 0.7, "an axis from top to bottom"
    measured = figure is not None and figure >= 0
    assert (right.any(axis=1).mean() > 0.7) == measured


@pytest.mark.parametrize(("by_epoch", "rule", "best"), [(True, "greater", "0.6"), (False, "less", "0.2"), (False, None, "0.6")])
def test_the_axis_and_the_best_of_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_epoch: bool, rule: str | None, best: str
) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(matplotlib.axes.Axes, "set_xlabel", lambda axes, text, **_: drawn.append(text))
    monkeypatch.setattr(matplotlib.axes.Axes, "annotate", lambda axes, text, *_, **__: drawn.append(text))
    log = [{"step": 10 * n, "loss": 1.0, "iter": 10 * n} | ({"epoch": n} if by_epoch else {}) for n in (1, 2)]
    log += [{"step": n if by_epoch else 10 * n, "error": value} for n, value in ((1, 0.6), (2, 0.2))]
    draw_curves(log, "error", rule, tmp_path / "curves.png")
    assert drawn == ["iterations", "epochs" if by_epoch else "iterations", best]


@pytest.mark.parametrize(
    ("config", "steps"),
    [
        ("resume = True\n", [1, 1, 2, 2, 3, 3, 4]),
        ("resume = True\njoined = dict(metric=1, loss=2)\n", [1, 1, 2, 4]),  # from iteration 2, the end of the first epoch
        ("resume = True\njoined = dict(metric=0, loss=0)\n", [4]),
        ("resume = False\n", [4]),
    ],
)
def test_curves_of_another_training_are_left_out(tmp_path: Path, config: str, steps: list[int]) -> None:
    for name, entries, begun in (
        ("2026_1", (1, 2, 3), "resume = False\nload_from = None\n"),
        ("2026_2", (4,), f"{config}load_from = 'x/iter_2.pth'\n"),
    ):
        folder = tmp_path / name / "vis_data"
        folder.mkdir(parents=True)
        kinds = ("loss", "mAP") if name == "2026_1" else ("loss",)
        lines = [f'{{"{kind}": 1.0, "step": {step}}}\n' for step in entries for kind in kinds]
        (folder / "scalars.json").write_text("".join(lines))
        (folder / "config.py").write_text(begun)
    assert [entry["step"] for entry in read_scalars(tmp_path)] == steps


def test_what_a_resumed_run_goes_on_with(tmp_path: Path) -> None:
    """Figures of its own training, wherever its checkpoint lies now; nothing of another that the folder has."""
    cfg = Config(dict(work_dir=str(tmp_path), default_hooks=dict(logger=None)))
    content = dict(meta=dict(iter=10, epoch=2, experiment_name="x_1_20261130_101010"))
    assert joined(cfg, content) == dict(loss=10, metric=2), "where all logs were deleted, the results remain"
    (tmp_path / "20261130_090909").mkdir()
    assert joined(cfg, content) == dict(loss=0, metric=0)
    (tmp_path / "20261130_101010").mkdir()
    assert joined(cfg, content) == dict(loss=10, metric=2)
    cfg.default_hooks.logger = dict(log_metric_by_epoch=False)
    assert joined(cfg, content) == dict(loss=10, metric=10)
    assert joined(cfg, dict(meta=dict(iter=10))) == dict(loss=10, metric=10), "of a runner without a name"


class Constant(torch.nn.Linear):
    """A model that predicts its own weight, and knows no picture 3."""

    def val_step(self, batch: list[int]) -> list[float]:
        assert batch != [3], "broken picture"
        return [float(self.weight)] * len(batch)


def test_the_sheet_has_the_averaged_weights() -> None:
    """As validations and checkpoints have; the training's own come back, also where a picture cannot be read."""
    model, hook = Constant(1, 1), EMAHook(momentum=0.5)
    loader = SimpleNamespace(dataset=range(3), collate_fn=list)
    runner: Any = SimpleNamespace(model=model, hooks=[hook], val_loop=True, val_dataloader=loader)
    model.weight.data.fill_(4.0)
    hook.before_run(runner)
    hook.ema_model.module.weight.data.fill_(2.0)
    assert predictions(runner, 12) == [2.0] * 3
    assert model.weight.item() == 4.0
    loader.dataset = range(4)
    with pytest.raises(AssertionError, match="broken picture"):
        predictions(runner, 12)
    assert model.weight.item() == 4.0


class Sample(SimpleNamespace):
    def __contains__(self, name: str) -> bool:
        return name in vars(self)


def test_pixels_that_the_evaluator_ignores_are_not_wrong(tmp_path: Path) -> None:
    """A training's evaluator may leave out another label than 255, such as background."""
    Image.fromarray(np.zeros((32, 48, 3), np.uint8)).save(tmp_path / "a.png")
    truth = torch.arange(3).repeat_interleave(16 * 32).reshape(1, 32, 48)
    found = SimpleNamespace(data=torch.full((1, 32, 48), 2))
    metainfo = dict(classes=("background", "road", "sky"), palette=[(9, 9, 9), (0, 200, 0), (0, 0, 200)])
    red = {}
    for ignored in (0, 255):
        sample = Sample(img_path=str(tmp_path / "a.png"), gt_sem_seg=SimpleNamespace(data=truth.clone()), pred_sem_seg=found)
        draw_contact_sheet([sample], metainfo, tmp_path / "sheet.png", ignored)
        sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB")).astype(int)
        red[ignored] = int((sheet[..., 0] - sheet[..., 1:].max(axis=-1) > 50).sum())
    assert 1.9 < red[255] / red[0] < 2.1, red  # two thirds are wrong; one of them is ignored


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
