"""The authors' ImageNet classifiers: the same logits as timm's from the same file, or as written out from the papers."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from families import BY_NAME, Family, released_state
from makers import HOME, each_family
from PIL import Image
from torch import Tensor, nn

import mmvit
from mmvit.errors import CheckpointError, InputError
from mmvit.zoo import Classifier, released_options

State = dict[str, Tensor]


def randomise(network: nn.Module) -> nn.Module:
    """Give every tensor of a network random values; variances stay positive."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.5 if name.endswith("var") else torch.randn_like(tensor) * 0.1)
    return network.double().eval()


def logits(family: Family, file: Path, images: Tensor, arch: Any = None) -> Tensor:
    init_cfg = dict(type="Pretrained", checkpoint=str(file))
    model = Classifier(family.kind, arch or family.tiny, init_cfg=init_cfg)
    model.backbone.init_weights()
    with torch.no_grad():
        return model.double().eval()(images.double())


def close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape == (len(found), 1000)
    assert (found - expected).abs().max() <= 1e-9 * expected.std()


@pytest.mark.parametrize("linear", [False, True])
def test_timms_pvt_v2(linear: bool, tmp_path: Path) -> None:
    from timm.models.pvt_v2 import PyramidVisionTransformerV2

    network = randomise(
        PyramidVisionTransformerV2(
            depths=(1, 1, 2, 1),
            embed_dims=(8, 16, 24, 32),
            num_heads=(1, 2, 3, 4),
            mlp_ratios=(2, 2, 2, 2),
            sr_ratios=(8, 4, 2, 1),
            linear=linear,
        )
    )
    torch.save(network.state_dict(), tmp_path / "file.pth")
    images = torch.randn(2, 3, 200, 232, dtype=torch.float64)
    found = logits(BY_NAME["PVTv2"], tmp_path / "file.pth", images, BY_NAME["PVTv2"].tiny | dict(linear=linear))
    close(found, network(images))


def test_timms_volo(tmp_path: Path) -> None:
    """Class attention, and the auxiliary head's largest logits."""
    from timm.models.volo import VOLO

    network = randomise(
        VOLO(
            layers=(2, 1, 2, 1),
            embed_dims=(16, 32, 32, 32),
            num_heads=(2, 4, 4, 4),
            mlp_ratio=3.0,
            stem_hidden_dim=4,
            post_layers=("ca", "ca"),
        )
    )
    torch.save(network.state_dict(), tmp_path / "file.pth")
    images = torch.randn(2, 3, 224, 224, dtype=torch.float64)
    close(logits(BY_NAME["VOLO"], tmp_path / "file.pth", images), network(images))


def norm(state: State, name: str, tokens: Tensor, eps: float) -> Tensor:
    return F.layer_norm(tokens, tokens.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)


def linear(state: State, name: str, tokens: Tensor) -> Tensor:
    return F.linear(tokens, state[f"{name}.weight"], state.get(f"{name}.bias"))


def attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    query, key, value = (tokens.unflatten(2, (heads, -1)).transpose(1, 2) for tokens in (query, key, value))
    weights = (query @ key.transpose(2, 3) * query.shape[3] ** -0.5).softmax(dim=3)
    return (weights @ value).transpose(1, 2).flatten(2)


def pvt(state: State, images: Tensor, sizes: dict[str, Any]) -> Tensor:
    """Return the logits of PVT's classifier: from the last stage on with a class token, which alone is read."""
    feature_map = images
    for stage in range(4):
        step = 4 if stage == 0 else 2
        name = f"patch_embed{stage + 1}"
        patches = F.conv2d(feature_map, state[f"{name}.proj.weight"], state[f"{name}.proj.bias"], stride=step)
        (height, width), heads = patches.shape[2:], sizes["heads"][stage]
        tokens = norm(state, f"{name}.norm", patches.flatten(2).transpose(1, 2), 1e-5)
        if stage == 3:
            tokens = torch.cat([state["cls_token"].expand(len(tokens), -1, -1), tokens], dim=1)
        tokens = tokens + state[f"pos_embed{stage + 1}"]
        for block in range(sizes["depths"][stage]):
            name, reduction = f"block{stage + 1}.{block}", sizes["reductions"][stage]
            inner = norm(state, f"{name}.norm1", tokens, 1e-6)
            keys = inner
            if reduction > 1:
                keys = inner.transpose(1, 2).unflatten(2, (height, width))
                keys = F.conv2d(keys, state[f"{name}.attn.sr.weight"], state[f"{name}.attn.sr.bias"], stride=reduction)
                keys = norm(state, f"{name}.attn.norm", keys.flatten(2).transpose(1, 2), 1e-5)
            key, value = linear(state, f"{name}.attn.kv", keys).chunk(2, dim=2)
            mixed = attention(linear(state, f"{name}.attn.q", inner), key, value, heads)
            tokens = tokens + linear(state, f"{name}.attn.proj", mixed)
            hidden = F.gelu(linear(state, f"{name}.mlp.fc1", norm(state, f"{name}.norm2", tokens, 1e-6)))
            tokens = tokens + linear(state, f"{name}.mlp.fc2", hidden)
        if stage < 3:
            feature_map = tokens.transpose(1, 2).unflatten(2, (height, width))
    return linear(state, "head", norm(state, "norm", tokens, 1e-6)[:, 0])


def t2t(state: State, images: Tensor, sizes: dict[str, Any]) -> Tensor:
    """Return the logits of T2T-ViT's classifier, from its own tokens on: those of the class token."""
    tokens = images  # tokens (B, N, C) that the token module gave
    tokens = torch.cat([state["cls_token"].expand(len(tokens), -1, -1), tokens], dim=1) + state["pos_embed"]
    for block in range(sizes["depths"][0]):
        name = f"blocks.{block}"
        query, key, value = linear(state, f"{name}.attn.qkv", norm(state, f"{name}.norm1", tokens, 1e-5)).chunk(3, dim=2)
        tokens = tokens + linear(state, f"{name}.attn.proj", attention(query, key, value, sizes["heads"]))
        hidden = F.gelu(linear(state, f"{name}.mlp.fc1", norm(state, f"{name}.norm2", tokens, 1e-5)))
        tokens = tokens + linear(state, f"{name}.mlp.fc2", hidden)
    return linear(state, "head", norm(state, "norm", tokens, 1e-5)[:, 0])


def pooled(state: State, last: Tensor) -> Tensor:
    return linear(state, "head", last.mean(dim=(2, 3)))


def random_state(family: Family) -> State:
    """Return random tensors of a released file; PVT's last table has a row for the class token."""
    torch.manual_seed(0)
    state = released_state(family, family.build())
    for name, value in state.items():
        if value.is_floating_point():
            state[name] = torch.rand(value.shape) + 0.5 if name.endswith("var") else torch.randn(value.shape) * 0.1
    if family.name == "PVT":
        state["pos_embed4"] = torch.randn(1, 50, state["pos_embed4"].shape[2])
    return {name: value.double() if value.is_floating_point() else value for name, value in state.items()}


@pytest.mark.parametrize("name", ["PVT", "T2TViT", "VAN", "ShuntedTransformer"])
def test_written_out(name: str, tmp_path: Path) -> None:
    family = BY_NAME[name]
    state, images = random_state(family), torch.randn(2, 3, 224, 224, dtype=torch.float64)
    torch.save(state, tmp_path / "file.pth")
    eps = dict(norm_eps=1e-6) if name == "VAN" else {}  # that of their classifier, also between stages
    backbone = family.build(**eps, **family.bare, init_cfg=dict(type="Pretrained", checkpoint=str(tmp_path / "file.pth")))
    backbone.init_weights()
    backbone = backbone.double().eval()
    expected: Callable[[], Tensor] = {
        "PVT": lambda: pvt(state, images, family.tiny),
        "T2TViT": lambda: t2t(state, backbone.tokens_to_token(images, backbone.run_block)[0], family.tiny),
    }.get(name, lambda: pooled(state, backbone(images)[3]))
    with torch.no_grad():
        close(logits(family, tmp_path / "file.pth", images), expected())


@each_family
def test_a_file_without_the_head_is_refused(family: Family, tmp_path: Path) -> None:
    state = random_state(family)
    del state["head.bias"]
    torch.save(state, tmp_path / "file.pth")
    with pytest.raises(CheckpointError, match=r"1 missing in the file: head.bias"):
        logits(family, tmp_path / "file.pth", torch.randn(1, 3, 64, 64))


@each_family
def test_the_tensors_are_those_of_the_released_file(family: Family) -> None:
    """Every tensor of the file is used, but for position tables of other sizes."""
    model = Classifier(family.kind, family.tiny)
    names = {model.backbone.record.our_name(name) for name in released_state(family, family.build())}
    assert set(model.backbone.state_dict()) == names - {name for name in names if name.startswith("laterals.")}


@each_family
def test_any_size(family: Family) -> None:
    """Sides that the authors' code cannot take are padded, as the backbone's are."""
    model = Classifier(family.kind, family.tiny).eval()
    images = torch.rand(1, 3, 65, 96)
    with torch.no_grad():
        found, padded = model(images), model(F.pad(images, (0, 0, 0, 31)))
    assert found.shape == (1, 1000)
    assert torch.equal(found, padded) == (family.kind.pad_to == 32)
    with pytest.raises(ValueError, match=r"takes images \(B, 3, H, W\)"):
        model(torch.rand(1, 4, 64, 64))


def test_create_and_its_options() -> None:
    model = mmvit.create("pvt_v2_b0", classifier=True, in_channels=4).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 4, 64, 96)).shape == (1, 1000)
    with pytest.raises(InputError, match=r"classifier=True: strides=\(4, 8, 16, 32\): the classifier of VOLO has"):
        mmvit.create("volo_d1", classifier=True, strides=(4, 8, 16, 32))
    files = ("mmvit://volo_d1_384", "mmvit://volo_d1", "volo_d1_384.pth")
    larger, usual, own = (released_options(dict(type="Pretrained", checkpoint=file)) for file in files)
    assert larger == dict(pretrain_img_size=384)
    assert usual == own == released_options(None) == {}


@pytest.mark.parametrize("name", ["pvt_tiny", "volo_d1"])
def test_options_reach_the_parts_of_a_classifier(name: str) -> None:
    with torch.device("meta"):
        model = mmvit.create(name, classifier=True, frozen_stages=4, norm_eps=1e-3).backbone
    assert {module.eps for module in model.modules() if isinstance(module, torch.nn.LayerNorm)} == {1e-3}
    frozen = [parameter for part in model.frozen_parts() for parameter in part.parameters()]
    assert not any(parameter.requires_grad for parameter in frozen)


def test_timms_registry_has_the_classifiers(tmp_path: Path) -> None:
    import mmvit.timm  # noqa: F401

    model = timm.create_model("mmvit_pvt_v2_b0", num_classes=1000).eval()
    torch.save(model.backbone.state_dict(), tmp_path / "own.pth")
    overlay = dict(file=str(tmp_path / "own.pth"))
    again = timm.create_model("mmvit_pvt_v2_b0", num_classes=1000, pretrained=True, pretrained_cfg_overlay=overlay).eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))
    assert (again.num_classes, again.pretrained_cfg["architecture"]) == (1000, "mmvit_pvt_v2_b0")


def test_a_photograph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """What the page says of checking a download runs; without the download, on random weights."""
    image_of = pytest.importorskip("skimage.data")
    page = (HOME / "docs" / "own_project.md").read_text()
    (example,) = re.findall(r"^```python\n((?:(?!```).*\n)*?.*classifier=True(?:(?!```).*\n)*)```$", page, re.MULTILINE)
    Image.fromarray(image_of.chelsea()).save(tmp_path / "cat.jpg")
    monkeypatch.chdir(tmp_path)
    exec(example.replace('checkpoint="mmvit://pvt_v2_b0"', "checkpoint=None"), {})
    assert re.fullmatch(r"(0\.\d\d \D+\n){3}", capsys.readouterr().out)
