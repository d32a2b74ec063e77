"""What `mmvit look` shows: against written-out attention, finite differences, and fields that one can count."""

from math import ceil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from families import FAMILIES, Family
from makers import each_family
from mmdet.models.dense_heads import DINOHead, MaskFormerHead
from mmdet.models.roi_heads import CascadeRoIHead
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.structures import BaseDataElement, InstanceData
from mmseg.models.decode_heads import Mask2FormerHead, SegformerHead
from predict.trained import Trained
from torch import nn

from mmvit.__main__ import main
from mmvit.errors import InputError
from mmvit.layers.attention import SelfAttention, limit_keys, multi_head_attention
from mmvit.look.analysis import labelled
from mmvit.look.seeing import (
    Given,
    attention,
    backbone_of,
    class_activation,
    class_names,
    class_score,
    colours,
    give,
    half_side,
    has_activation,
    maps,
    receptive_field,
    recorded,
)
from mmvit.look.sheet import look
from mmvit.predict.models import Loaded

pytestmark = pytest.mark.stack


class Bare(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone


def bare(family: Family) -> tuple[Loaded, Given]:
    """A backbone without heads, and an image of 70 x 100 pixels padded to multiples of 32."""
    torch.manual_seed(0)
    backbone = family.build()
    backbone.init_weights()
    loaded = Loaded(Bare(backbone.eval()), "mmseg", None, Compose([]), ("a",), None, None, Config())  # type: ignore[arg-type]
    batch = torch.zeros(1, 3, 96, 128)
    batch[..., :70, :100] = torch.randn(3, 70, 100)
    return loaded, Given("image", (140, 200), batch, BaseDataElement(), (70, 100))


@each_family
def test_each_family_shows_what_it_has(family: Family) -> None:
    loaded, given = bare(family)
    sides = [(ceil(70 / stride), ceil(100 / stride)) for stride in (4, 8, 16, 32)]
    assert [level.shape[:2] for level in maps(loaded, given)] == sides
    attended = attention(loaded, given, (60.0, 40.0))
    assert bool(attended) == family.attends
    assert all(0 < seen.sum() <= 1.00001 for seen in attended.values())
    fields = receptive_field(loaded, given, (100.0, 70.0))
    for field in fields:
        assert field.shape == (70, 100)
        assert field.sum() == pytest.approx(1, abs=1e-4)
    assert half_side(fields[0], (50.0, 35.0)) < 70  # of a stem and few blocks: near its point, not spread over the image


def test_recorded_attention_is_what_the_module_computes() -> None:
    torch.manual_seed(0)
    module = SelfAttention(8, heads=1).eval()
    tokens = torch.randn(1, 1 + 6, 8)  # a class token, and a grid of 2 x 3
    with torch.inference_mode(), recorded(nn.Sequential(module)) as calls:
        module(tokens, (2, 3))
    (call,) = calls
    query, key, value = module.qkv(tokens).chunk(3, dim=2)
    expected = multi_head_attention(query, key, value, heads=1)[0, 4]
    weights = (query[0, 4] @ key[0].T * 8**-0.5).softmax(dim=0)
    torch.testing.assert_close(weights @ value[0], expected)
    torch.testing.assert_close(call.of(4), weights[1:].unflatten(0, (2, 3)).detach())
    assert "attend" not in vars(module)  # nothing is left behind


def test_attention_to_fewer_keys() -> None:
    module = SelfAttention(8, heads=2).eval()
    limit_keys(module, 6)
    with torch.inference_mode(), recorded(nn.Sequential(module)) as calls:
        module(torch.randn(1, 20, 8), (4, 5))
    assert calls[0].grid == (2, 3)
    assert calls[0].of(19).sum() == pytest.approx(1)


@pytest.mark.parametrize("head", ["retinanet", "mask_rcnn", "segformer"])
def test_activation_is_the_gradient_of_the_score(head: str, tmp_path: Path) -> None:
    trained = Trained(head, tmp_path)
    loaded = trained.predictor().loaded
    given = give(loaded, str(trained.images / "0.png"))
    levels = maps(loaded, given)
    if hasattr(loaded.model, "roi_head"):
        fix_proposals(loaded, given)
    labels = list(range(len(trained.classes)))
    if trained.segments:  # the most frequent label, so that its pixels do not change with a small step
        with torch.inference_mode():
            found = loaded.model.encode_decode(given.batch, [given.sample.metainfo])[0].argmax(dim=0)
        labels = [int(found.flatten().mode().values)]
    for label in labels:  # of random weights, some speak for no class
        told = class_activation(loaded, given, label)
        assert [activation.shape for activation in told] == [level.shape[:2] for level in levels]
        if any(activation.max() > 0 for activation in told):
            break
    assert any(activation.max() > 0 for activation in told)
    number = int(np.argmax([activation.max() for activation in told]))
    assert_slopes(loaded, given, label, number, levels[number], told[number])


def fix_proposals(loaded: Loaded, given: Given) -> None:
    """Let the first stage find the same whatever its maps are: the second stage alone is derived."""
    model = loaded.model
    with torch.no_grad():
        (found,) = model.rpn_head.predict(model.extract_feat(given.batch), [given.sample], rescale=False)
    model.rpn_head.predict = lambda features, *_, **__: [InstanceData(bboxes=found.bboxes.to(features[0]))]


def assert_slopes(loaded: Loaded, given: Given, label: int, number: int, level: np.ndarray, told: np.ndarray) -> None:
    """Check one level's activation: the score's slopes along its channels, by finite differences in double precision."""
    loaded.model.double()
    exact = Given(given.path, given.original, given.batch.double(), given.sample, given.inside)
    step = torch.zeros(level.shape[2], dtype=torch.float64)

    def move(module: nn.Module, arguments: object, result: tuple) -> tuple:
        parts = list(result)
        parts[number] = parts[number] + step[None, :, None, None]
        return tuple(parts)

    hook = backbone_of(loaded).register_forward_hook(move)
    slopes = []
    with torch.no_grad():
        for channel in range(len(step)):
            ends = []
            for size in (1e-6, -1e-6):
                step.zero_()[channel] = size
                ends.append(float(class_score(loaded, exact, label)))
            slopes.append((ends[0] - ends[1]) / 2e-6)
    hook.remove()
    shape = backbone_of(loaded)(exact.batch)[number].shape[-2:]
    expected = np.maximum(level @ (np.array(slopes) / (shape[0] * shape[1])), 0)
    np.testing.assert_allclose(told, expected, atol=2e-3 * told.max())


@pytest.mark.parametrize(
    ("part", "head"), [("bbox_head", DINOHead), ("roi_head", CascadeRoIHead), ("panoptic_head", MaskFormerHead)]
)
def test_heads_without_an_activation_are_named(part: str, head: type) -> None:
    """Heads of queries have no maps of scores, and those of a cascade no single score."""
    model = SimpleNamespace(**{part: head.__new__(head)})
    loaded = Loaded(model, "mmdet", None, Compose([]), ("a",), None, None, Config())  # type: ignore[arg-type]
    assert not has_activation(loaded)
    with pytest.raises(InputError, match="class activation knows detectors with dense heads, and two-stage ones"):
        class_score(loaded, Given("image", (2, 2), torch.zeros(1, 3, 2, 2), BaseDataElement(), (2, 2)), 0)


def test_scores_of_queries_are_probabilities() -> None:
    """mmseg gives their sum, of which a softmax makes almost equal shares."""
    logits = torch.zeros(19, 1, 3)
    logits[3, 0] = torch.tensor([1.0, 0.25, 1.5])
    sample = SimpleNamespace(pred_sem_seg=SimpleNamespace(data=logits.argmax(0)[None]), seg_logits=SimpleNamespace(data=logits))
    shape = SimpleNamespace(img_shape=(1, 3))
    model = SimpleNamespace(
        predict=lambda batch, samples: [sample],
        data_preprocessor=lambda data, training: dict(inputs=None, data_samples=data["data_samples"]),
    )
    read = SimpleNamespace(transform=lambda data: dict(data, ori_shape=(1, 3), inputs=None, data_samples=shape))
    loaded = Loaded(model, "mmseg", read, Compose([]), ("a",), None, None, Config())  # type: ignore[arg-type]
    for head, expected in ((Mask2FormerHead, [1, 0.25, 1]), (SegformerHead, logits.softmax(0)[3, 0].tolist())):
        model.decode_head = head.__new__(head)
        assert labelled(loaded, "image")[1][0].tolist() == pytest.approx(expected)


def test_a_segmenter_with_one_channel_has_two_labels() -> None:
    logits = torch.tensor([[0.0, 2.0], [-3.0, -0.5]])  # above the threshold, but for the third
    head = SimpleNamespace(threshold=0.3, out_channels=1)
    model = SimpleNamespace(encode_decode=lambda batch, metas: logits[None, None], decode_head=head)
    loaded = Loaded(model, "mmseg", None, Compose([]), ("a",), None, None, Config())  # type: ignore[arg-type]
    given = Given("image", (2, 2), torch.zeros(1, 3, 2, 2), BaseDataElement(), (2, 2))
    assert class_names(loaded) == ("a", "1")
    assert class_score(loaded, given, 1) == 1.5
    assert class_score(loaded, given, 0) == 3


def test_colours_are_the_first_components() -> None:
    rng = np.random.default_rng(0)
    strong = np.linspace(-1, 1, 40).reshape(5, 8)
    tokens = 10 * strong[..., None] * np.eye(6)[2] + 0.1 * rng.normal(size=(5, 8, 6))
    first = colours(tokens)[..., 0]
    assert first.min() == 0
    assert first.max() == 1
    assert abs(np.corrcoef(first.ravel(), strong.ravel())[0, 1]) > 0.99


def test_half_of_a_field() -> None:
    field = np.zeros((20, 30))
    field[10, 15] = 0.4
    field[7:14, 12:19] += 0.3 / 49
    field[0, 0] = 0.3
    assert half_side(field, (15.5, 10.2)) == 5  # 0.4 + 0.3 * 25 / 49 is the first beyond half
    assert half_side(np.full((21, 21), 1 / 441), (10, 10)) == 15  # 15 x 15 = 225 of 441


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained("retinanet", tmp_path_factory.mktemp("retinanet"))


def test_look(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["look", str(trained.config), str(trained.checkpoint), str(trained.images / "0.png"), str(trained.images / "1.png")]
    assert main([*words, "--out", str(tmp_path), "--at", "20,30", "--score", "0"]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "0.png"), str(tmp_path / "1.png")]
    for name in ("0", "1"):
        image = cv2.imread(str(tmp_path / f"{name}.png"))
        assert min(image.shape[:2]) > 1000
        assert image.std() > 20
        assert (tmp_path / f"{name}.pdf").stat().st_size > 10_000


def test_mistakes_are_told(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["look", str(trained.config), str(trained.checkpoint), str(trained.images / "0.png"), "--out", str(tmp_path)]
    assert main([*words, "--at", "200,3"]) == 2
    assert "outside of" in capsys.readouterr().err
    assert main([*words, "--class", "11"]) == 2
    assert "no class '11'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*words, "--at", "20"])
    assert "such as 120,80" in capsys.readouterr().err
    exported: Any = SimpleNamespace(settings=dict(checkpoint="model.onnx"))
    with pytest.raises(InputError, match=r"model\.onnx: an exported model, .* Expected the checkpoint"):
        look(exported, [], tmp_path, None, None)


def test_the_families_are_all_here() -> None:
    assert {family.name for family in FAMILIES if not family.attends} == {"VAN"}
