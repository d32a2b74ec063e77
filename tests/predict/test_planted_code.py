"""Code planted in the config that a checkpoint carries: nothing of ours runs it, nor a stock inferencer after import mmvit."""

from collections.abc import Callable
from pathlib import Path
from shutil import copyfile

import pytest
import torch
from mmengine.config import Config
from trained import Trained

import mmvit
from mmvit.__main__ import main
from mmvit.compat.texts import read_config
from mmvit.errors import CheckpointError

pytestmark = pytest.mark.stack
Model = Callable[[str], Trained]
SENTINEL = "planted"
CODE = f"planted = __import__('pathlib').Path('{SENTINEL}').touch()\n"


class Planted:
    """A tiny trained model whose checkpoint has code in every text that mmengine might run."""

    def __init__(self, folder: Path, trained: Trained) -> None:
        self.trained = trained
        content = torch.load(self.trained.checkpoint, weights_only=True)
        text = CODE + content["meta"]["cfg"]
        content["meta"] |= dict(cfg=text, config=text, epoch=0, iter=0)
        content |= dict(message_hub=dict(runtime_info=dict(cfg=text)), optimizer={})
        self.checkpoint = str(folder / "planted.pth")
        torch.save(content, self.checkpoint)
        self.config, self.image = str(self.trained.config), str(self.trained.images / "0.png")


@pytest.fixture(scope="module", params=["retinanet", "fpn"])
def planted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, model_of: Model) -> Planted:
    return Planted(tmp_path_factory.mktemp(request.param), model_of(request.param))


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def stock_inferencer(planted: Planted, config: str | None = None) -> None:
    from mmdet.apis import DetInferencer
    from mmseg.apis import MMSegInferencer

    kind = MMSegInferencer if planted.trained.segments else DetInferencer
    kind(config, weights=planted.checkpoint, device="cpu")


def stock_model(planted: Planted) -> None:
    from mmdet.apis import init_detector
    from mmseg.apis import init_model

    (init_model if planted.trained.segments else init_detector)(planted.config, planted.checkpoint, device="cpu")


def pretrained(planted: Planted) -> None:
    options = ["--cfg-options", f"model.backbone.init_cfg.checkpoint={planted.checkpoint}"]
    assert main(["doctor", planted.config, *options, "model.backbone.init_cfg.type=Pretrained"]) in (0, 1)


def good(*words: str) -> None:
    assert main(words) == 0


READ: dict[str, Callable[[Planted], object]] = {  # with a config, the text in the checkpoint is of no use, and stays unread
    "predict": lambda planted: good("predict", planted.config, planted.checkpoint, planted.image, "--no-overlays"),
    "test": lambda planted: good("test", planted.config, planted.checkpoint),
    "doctor": pretrained,
    "Predictor": lambda planted: mmvit.Predictor(planted.config, planted.checkpoint),
    "stock inferencer": lambda planted: stock_inferencer(planted, planted.config),
    "stock model": stock_model,
}
REFUSED: dict[str, Callable[[Planted], object]] = {
    "Predictor": lambda planted: mmvit.Predictor(None, planted.checkpoint),
    "stock inferencer": stock_inferencer,
}


def test_mmengine_would_run_it() -> None:
    Config.fromstring(CODE, ".py")
    assert Path(SENTINEL).exists()


@pytest.mark.parametrize("way", READ)
def test_a_checkpoint_with_code_is_read(planted: Planted, way: str) -> None:
    READ[way](planted)
    assert not Path(SENTINEL).exists()


@pytest.mark.parametrize("way", REFUSED)
def test_a_checkpoint_with_code_is_refused(planted: Planted, way: str) -> None:
    with pytest.raises(CheckpointError, match=r"planted\.pth: its config was not read: line 1 has"):
        REFUSED[way](planted)
    assert not Path(SENTINEL).exists()


def test_commands_refuse_it(planted: Planted, capsys: pytest.CaptureFixture) -> None:
    assert main(["predict", planted.checkpoint, planted.image]) == 2
    assert "its config was not read" in capsys.readouterr().err
    assert main(["train", planted.config, "--resume", planted.checkpoint]) == 2
    assert "meta.config" in capsys.readouterr().err
    assert main(["publish", planted.checkpoint, "--out", "published"]) == 2
    assert "its config was not read" in capsys.readouterr().err
    assert not Path(SENTINEL).exists()


def test_stock_inferencers_read_what_is_plain(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    copyfile(planted.trained.checkpoint, "plain.pth")
    monkeypatch.setattr(planted, "checkpoint", "plain.pth")
    stock_inferencer(planted)


CODES = [
    "__import__('os').system('touch planted')",
    "[open('planted', 'w') for _ in 'x']",
    "dict(**dict(a=1))",
    "list(x for x in 'a')",
    "(lambda: 1)()",
    "str.format('a')",
]


@pytest.mark.parametrize("code", CODES)
def test_code_in_a_config_is_refused(code: str) -> None:
    torch.save(dict(state_dict={"a": torch.zeros(1)}, meta=dict(cfg=f"default_scope = 'mmdet'\nmodel = {code}\n")), "x.pth")
    with pytest.raises(CheckpointError, match=r"x\.pth: its config was not read: line 2 has"):
        mmvit.Predictor(None, "x.pth")
    assert not Path("planted").exists()


@pytest.mark.parametrize("kind", ["subprocess.run", "os.system", "mmengine.load", "mmdet.os.system", "setup", "mmvit.zoo.find"])
def test_types_that_are_no_classes_are_refused(kind: str) -> None:
    text = f"default_scope = 'mmdet'\nmodel = dict(type='X', head=[dict(type='{kind}')])\ntest_dataloader = dict()\n"
    with pytest.raises(CheckpointError, match=r"model\.head\.0\.type is"):
        read_config(text, "x.pth")


@pytest.mark.parametrize("kind", ["iSAIDDataset", "mmseg.iSAIDDataset", "mmdet.datasets.isaid.iSAIDDataset", "gRefCOCOMetric"])
def test_classes_that_begin_with_a_small_letter(kind: str) -> None:
    read_config(f"default_scope = 'mmdet'\nmodel = dict(type='X')\ntest_dataloader = dict(dataset=dict(type='{kind}'))\n", "x")


def test_statements_are_refused() -> None:
    with pytest.raises(CheckpointError, match="line 1 has a statement of kind Import"):
        read_config("import os", "x.pth")
