"""terratorch, torchgeo, anomalib, lightly-train and MONAI as they are installed: `make test-toolkits` brings them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from families import idle
from PIL import Image
from torch import nn

import mmvit.timm  # noqa: F401  registers the archs
from mmvit import InputError
from mmvit.lightly_train import Encoder
from mmvit.zoo import create

pytestmark = [pytest.mark.once, pytest.mark.filterwarnings("ignore")]


def learns(model: nn.Module, masks: torch.Tensor, shape: tuple[int, ...]) -> None:
    """All of a segmenter's backbone learns from its output."""
    assert masks.shape == shape
    masks.square().mean().backward()
    assert any("stages." in name for name, _ in model.named_parameters())
    assert [name for name in idle(model) if "stages." in name] == []


def write_pictures(folder: Path, spread: int) -> np.ndarray:
    """Eight pictures of noise below `spread`."""
    folder.mkdir()
    pictures = np.random.default_rng(0).integers(0, spread, (8, 64, 64, 3), dtype=np.uint8)
    for index, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return pictures


def test_terratorch() -> None:
    factory = pytest.importorskip("terratorch.models").EncoderDecoderFactory()
    options = dict(backbone_pretrained=False, backbone_in_chans=6, decoder="UperNetDecoder", num_classes=4)
    model = factory.build_model(task="segmentation", backbone="timm_mmvit_van_b0", **options)
    learns(model, model(torch.rand(2, 6, 64, 96)).output, (2, 4, 64, 96))


def test_torchgeo() -> None:
    trainers = pytest.importorskip("torchgeo.trainers")
    options = dict(weights=None, in_channels=6, task="multiclass", num_classes=4)
    task = trainers.SemanticSegmentationTask(model="unet", backbone="tu-mmvit_van_b0", **options)
    learns(task, task(torch.rand(2, 6, 64, 96)), (2, 4, 64, 96))


def test_anomalib(tmp_path: Path) -> None:
    """PatchCore of anomalib's own engine tells noise from plain pictures by the distances of our features."""
    anomalib = pytest.importorskip("anomalib.models")
    from anomalib.data import Folder
    from anomalib.engine import Engine

    pictures = {kind: write_pictures(tmp_path / kind, spread) for kind, spread in (("good", 4), ("bad", 256))}
    options = dict(train_batch_size=2, eval_batch_size=2, num_workers=0)
    data = Folder(name="tiny", root=tmp_path, normal_dir="good", abnormal_dir="bad", **options)
    model = anomalib.Patchcore(
        backbone="pyramid_van_b0",
        layers=["stages.1", "stages.2"],
        pre_trained=False,
        pre_processor=anomalib.Patchcore.configure_pre_processor(image_size=(64, 64)),
    )
    engine = Engine(default_root_dir=tmp_path / "out", accelerator="cpu", devices=1, max_epochs=1, logger=False)
    engine.fit(model, datamodule=data)
    images = {kind: torch.from_numpy(found).permute(0, 3, 1, 2) / 255 for kind, found in pictures.items()}
    scores = {kind: model.eval()(found).pred_score for kind, found in images.items()}
    assert scores["bad"].min() > scores["good"].max()


def test_lightly_train(tmp_path: Path) -> None:
    """It pre-trains an encoder on pictures without labels, and what it exports comes back exactly."""
    lightly_train = pytest.importorskip("lightly_train")
    write_pictures(tmp_path / "pictures", 256)
    encoder = Encoder("van_b0")
    before = encoder.backbone.state_dict()["stages.0.patch_embed.proj.weight"].clone()
    lightly_train.pretrain(
        out=tmp_path / "out",
        data=tmp_path / "pictures",
        model=encoder,
        method="simclr",
        epochs=1,
        batch_size=4,
        num_workers=0,
        accelerator="cpu",
        transform_args=dict(image_size=(64, 64)),
    )
    file = tmp_path / "out" / "exported_models" / "exported_last.pt"
    again = create("van_b0", file).state_dict()
    torch.testing.assert_close(again, torch.load(file, weights_only=True), rtol=0, atol=0)
    assert not torch.equal(again["stages.0.patch_embed.proj.weight"], before)


def test_monai(tmp_path: Path) -> None:
    flexible = pytest.importorskip("monai.networks.nets").FlexibleUNet
    from mmvit.monai import register

    trained = create("van_b0")
    torch.save(trained.state_dict(), tmp_path / "own.pth")
    model = flexible(in_channels=3, out_channels=3, backbone=register("van_b0", tmp_path / "own.pth", drop_path_rate=0.1))
    torch.testing.assert_close(model.encoder.backbone.state_dict(), trained.state_dict(), rtol=0, atol=0)
    with pytest.raises(InputError, match=r"\(64, 80\) pixels: FlexibleUNet takes sides that are multiples of 32"):
        model(torch.rand(1, 3, 64, 80))
    first, second = register("van_b0", tmp_path / "own.pth"), register("van_b0")
    again = flexible(in_channels=3, out_channels=3, backbone=first).encoder.backbone
    torch.testing.assert_close(again.state_dict(), trained.state_dict(), rtol=0, atol=0)
    model = flexible(in_channels=4, out_channels=3, backbone=second)
    learns(model, model(torch.rand(2, 4, 64, 96)), (2, 3, 64, 96))
    for options in (dict(spatial_dims=3), dict(pretrained=True)):
        with pytest.raises(InputError, match="expected 2 and False; weights are register's checkpoint"):
            flexible(in_channels=4, out_channels=3, backbone=register("van_b0"), **options)
