"""Last step of a demo run: `mmvit predict` on images that neither training nor validation ever saw."""

from pathlib import Path

from PIL import Image

from ..engine.terminal import near
from ..predict.prediction import Options, Prediction
from ..predict.predictor import Predictor
from ..predict.writing import numbered
from .spec import DemoSpec

SEED = 1  # the datasets' is 0
COUNT = 8


def predict_unseen(checkpoint: Path, work_dir: Path) -> str:
    """Write new scenes to `work_dir`, predict on them, and return the command that does the same.

    Their digits and photographs are those of validation, which training does not use, in other places and colours.
    """
    from .scenes import scenes  # importing it reads all digits and photographs

    images, out = work_dir / "unseen", numbered(work_dir / "unseen_predictions")
    images.mkdir(parents=True, exist_ok=True)
    for index, scene in enumerate(scenes("val", DemoSpec(seed=SEED, val_images=COUNT))):
        Image.fromarray(scene.image).save(images / f"{index}.png")
    Prediction(Predictor(None, checkpoint), Options(Path(near(str(out))))).run([str(images)])
    return f"python -m mmvit predict {near(str(checkpoint))} {near(str(images))} --out {near(str(out))}"
