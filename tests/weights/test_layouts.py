"""Other libraries' own networks: with random weights, saved as they save, they load here, compute the same, and go back."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from families import FAMILIES
from safetensors.torch import save_file
from states import BY_NAME, mmdet_sizes, under
from torch import Tensor, nn

from benchmarks.peers_openmmlab import correct_scales
from mmvit.errors import CheckpointError
from mmvit.pyramid import Pyramid
from mmvit.weights import layouts
from mmvit.weights.loading import load_pretrained

pytestmark = pytest.mark.stack


class Peer(NamedTuple):
    """A network of another library's, tiny.

    Attributes:
        family: whose network it is.
        toolkit: whose layout.
        build: makes it.
        maps: its four maps, or those that can be compared, and which these are.
        save: what its library writes.
    """

    family: str
    toolkit: str
    build: Callable[[dict], nn.Module]
    maps: Callable[[Any, Tensor], Mapping[int, Tensor]]
    save: Callable[[nn.Module], Mapping[str, Any]] = lambda network: network.state_dict()


# timm


def timm_pvt_v2(sizes: dict, **options: Any) -> nn.Module:
    timm = pytest.importorskip("timm")
    names = dict(depths="depths", embed_dims="dims", num_heads="heads", mlp_ratios="mlp_ratios", sr_ratios="reductions")
    return timm.create_model("pvt_v2_b0", **{theirs: tuple(sizes[ours]) for theirs, ours in names.items()}, **options)


def intermediates(network: Any, images: Tensor) -> Mapping[int, Tensor]:
    return dict(enumerate(network.forward_intermediates(images, intermediates_only=True)))


def returned(network: Any, images: Tensor) -> Mapping[int, Tensor]:
    return dict(enumerate(network(images)))


# mmdet


def mmdet_pvt(name: str, sizes: dict) -> nn.Module:
    pvt = pytest.importorskip("mmdet.models.backbones.pvt")
    return getattr(pvt, name)(**mmdet_sizes(sizes))


def as_detector(network: nn.Module) -> Mapping[str, Any]:
    """As mmdet saves a detector."""
    state = under("backbone.", network.state_dict())
    return {"meta": {"epoch": 12}, "state_dict": {**state, "neck.lateral_convs.0.conv.bias": torch.zeros(4)}}


# transformers


def huggingface(name: str, sizes: dict, num_labels: int = 5, **options: Any) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    if not hasattr(transformers, f"{name}ForImageClassification"):
        pytest.skip(f"this version of transformers has no {name}")
    config = getattr(transformers, f"{name}Config")(
        depths=sizes["depths"], hidden_sizes=sizes["dims"], mlp_ratios=sizes["mlp_ratios"], num_labels=num_labels, **options
    )
    return getattr(transformers, f"{name}ForImageClassification")(config)


def huggingface_attention(name: str, sizes: dict, **options: Any) -> nn.Module:
    options["sr_ratios" if name == "PvtV2" else "sequence_reduction_ratios"] = sizes["reductions"]
    return huggingface(name, sizes, num_attention_heads=sizes["heads"], drop_path_rate=0.0, **options)


def hidden_states(network: Any, images: Tensor) -> Mapping[int, Tensor]:
    return dict(enumerate(network(images, output_hidden_states=True).hidden_states))


def pvt_stages(network: Any, images: Tensor) -> Mapping[int, Tensor]:
    """Of the first three stages: the fourth runs a class token that no dense network has."""
    ends: list[Tensor] = []
    for stage in network.pvt.encoder.block[:3]:
        stage[-1].register_forward_hook(lambda _, __, output: ends.append(output[0]))
    network(images)
    return {level: to_map(tokens, images, 4 * 2**level) for level, tokens in enumerate(ends)}


def to_map(tokens: Tensor, images: Tensor, stride: int) -> Tensor:
    return tokens.unflatten(1, (images.shape[2] // stride, -1)).permute(0, 3, 1, 2)


# mmpretrain


def mmpretrain_van(sizes: dict) -> nn.Module:
    backbones = pytest.importorskip("mmpretrain.models.backbones")
    return backbones.VAN(
        arch=dict(embed_dims=sizes["dims"], depths=sizes["depths"], ffn_ratios=sizes["mlp_ratios"]),
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.0,
    )


def mmpretrain_t2t(sizes: dict) -> nn.Module:
    """Its last map, after the norm, is the last tap's; its attention is corrected."""
    backbones = pytest.importorskip("mmpretrain.models.backbones")
    network = backbones.T2T_ViT(
        embed_dims=sizes["embed_dim"],
        num_layers=sizes["depths"][0],
        layer_cfgs=dict(num_heads=sizes["heads"], feedforward_channels=sizes["mlp_ratio"] * sizes["embed_dim"]),
        out_type="featmap",
    )
    correct_scales(network)
    return network


def as_classifier(network: nn.Module) -> Mapping[str, Any]:
    """As mmpretrain saves one."""
    state = under("backbone.", network.state_dict())
    return {"meta": {}, "state_dict": {**state, "head.fc.weight": torch.zeros(1000, 8)}}


PEERS = {
    "timm pvt_v2": Peer("PVTv2", "timm", timm_pvt_v2, intermediates),
    "timm features_only": Peer("PVTv2", "timm", partial(timm_pvt_v2, features_only=True), returned),
    "mmdet PVT": Peer("PVT", "mmdet", partial(mmdet_pvt, "PyramidVisionTransformer"), returned, as_detector),
    "mmdet PVTv2": Peer("PVTv2", "mmdet", partial(mmdet_pvt, "PyramidVisionTransformerV2"), returned, as_detector),
    "transformers PvtV2": Peer("PVTv2", "huggingface", partial(huggingface_attention, "PvtV2"), hidden_states),
    "transformers Pvt": Peer("PVT", "huggingface", partial(huggingface_attention, "Pvt"), pvt_stages),
    "transformers Van": Peer("VAN", "huggingface", partial(huggingface, "Van"), hidden_states),
    "mmpretrain VAN": Peer("VAN", "mmpretrain", mmpretrain_van, returned, as_classifier),
    "mmpretrain T2T-ViT": Peer(
        "T2TViT", "mmpretrain", mmpretrain_t2t, lambda network, images: {3: network(images)[-1]}, as_classifier
    ),
}
OPTIONS = {"T2TViT": dict(strides=None, tokens="transformer")}


def randomise(network: nn.Module) -> nn.Module:
    """Values that no two tensors share, and at which every part of a network counts."""
    torch.manual_seed(3)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) * 0.2 + (0.9 if value.ndim == 1 else -0.1))
    network.eval()  # which mmpretrain's do not return
    return network


@pytest.fixture(scope="module", params=PEERS)
def peer(request: pytest.FixtureRequest) -> tuple[Peer, nn.Module]:
    peer = PEERS[request.param]
    return peer, randomise(peer.build(BY_NAME[peer.family].tiny))


def ours(peer: Peer, **options: Any) -> Pyramid:
    return BY_NAME[peer.family].build(**OPTIONS.get(peer.family, {}), **options).eval()


@pytest.mark.parametrize(("kind", "within"), [(torch.float32, 1e-5), (torch.float64, 1e-10)], ids=["float32", "float64"])
def test_networks_of_other_libraries(peer: tuple[Peer, nn.Module], tmp_path: Path, kind: torch.dtype, within: float) -> None:
    what, network = peer[0], deepcopy(peer[1]).to(kind)
    torch.save(what.save(network), tmp_path / "file.pth")
    model = ours(what).to(kind)
    report = load_pretrained(model, tmp_path / "file.pth")
    assert what.toolkit in report.layout
    eps = layouts.layout_of(model.record.name, what.toolkit).eps
    assert any(f"norm_eps={eps}" in remark for remark in report.remarks) == (eps is not None)
    images = torch.randn(2, 3, 224, 224, dtype=kind)
    with torch.no_grad():
        expected, found = what.maps(network, images), model(images)
    assert expected
    for level, wanted in expected.items():
        assert (found[level] - wanted).abs().max() <= within * wanted.std(), level


def test_the_way_back_is_exact(peer: tuple[Peer, nn.Module], tmp_path: Path) -> None:
    what, network = peer
    torch.save(what.save(network), tmp_path / "file.pth")
    model = ours(what)
    told = load_pretrained(model, tmp_path / "file.pth").layout
    layout = max((layout for layout in layouts.LAYOUTS if str(layout) in told), key=lambda layout: len(str(layout)))
    back, theirs = layout.from_ours(model.state_dict()).tensors, network.state_dict()
    first = next(iter(back))
    start = next(name for name in theirs if name.endswith(first)).removesuffix(first)
    for name, value in back.items():
        expected = theirs[start + name]
        assert torch.equal(value, expected[:, 1:] if expected.ndim == 3 and expected.shape[1] == 50 else expected), name
    lost = {name for name in theirs if name.removeprefix(start) not in back}
    assert not [name for name in lost if not name.startswith(NOT_DENSE)]


NOT_DENSE = ("head.", "classifier.", "pvt.encoder.patch_embeddings.3.cls_token", "pvt.encoder.layer_norm.", "van.layernorm.")


def test_safetensors_of_other_libraries(tmp_path: Path) -> None:
    network = randomise(timm_pvt_v2(BY_NAME["PVTv2"].tiny))
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")
    models = [BY_NAME["PVTv2"].build() for _ in range(2)]
    for model, name in zip(models, ("model.safetensors", "pytorch_model.bin"), strict=True):
        assert "timm pvt_v2" in load_pretrained(model, tmp_path / name).layout
    assert all(torch.equal(value, models[1].state_dict()[name]) for name, value in models[0].state_dict().items())


def test_two_layouts_at_once(tmp_path: Path) -> None:
    model = BY_NAME["PVTv2"].build()
    mmdet, authors = (layouts.layout_of("pvt_v2", toolkit).from_ours(model.state_dict()) for toolkit in ("mmdet", "authors"))
    torch.save({**mmdet.tensors, **authors.tensors}, tmp_path / "both.pth")
    with pytest.raises(CheckpointError, match="holds the names of the authors or ours and of mmdet pvt_v2 at once"):
        load_pretrained(model, tmp_path / "both.pth")


def test_an_eps_of_the_config_stays(tmp_path: Path) -> None:
    model = BY_NAME["PVTv2"].build(norm_eps=1e-3)
    torch.save(layouts.layout_of("pvt_v2", "mmdet").from_ours(model.state_dict()).tensors, tmp_path / "file.pth")
    report = load_pretrained(model, tmp_path / "file.pth")
    assert {module.eps for module in model.modules() if isinstance(module, nn.LayerNorm)} == {1e-3}
    assert "norm_eps stays 0.001" in str(report)


def tiny_of(layout: layouts.Layout) -> Pyramid:
    """A network whose tensors have names in the layout."""
    family = next(family for family in FAMILIES if family.kind.record.name == layout.family)
    return family.build(**OPTIONS.get(family.name, {}) if layout.toolkit == "mmpretrain" else {})


EPS = {"huggingface": 1e-6, "mmdet": 1e-6}  # layer_norm_eps of PvtConfig, PvtV2Config, VanConfig; norm_cfg of mmdet's PVT


@pytest.mark.parametrize("layout", layouts.LAYOUTS, ids=str)
def test_eps_is_that_of_the_toolkit(layout: layouts.Layout, tmp_path: Path) -> None:
    """Of all layer norms, once a file of the toolkit is loaded; None leaves the authors'."""
    model, untouched = tiny_of(layout), tiny_of(layout)
    torch.save(layout.from_ours(model.state_dict()).tensors, tmp_path / "file.pth")
    load_pretrained(model, tmp_path / "file.pth")
    norms = [module.eps for module in model.modules() if isinstance(module, nn.LayerNorm)]
    before = [module.eps for module in untouched.modules() if isinstance(module, nn.LayerNorm)]
    eps = EPS.get(layout.toolkit)
    assert norms == (before if eps is None else [eps] * len(before))


@pytest.mark.parametrize("layout", layouts.LAYOUTS, ids=str)
def test_every_layout_both_ways(layout: layouts.Layout) -> None:
    """Without the libraries: all of a network's tensors have a name there, different ones, and come back the same."""
    model = tiny_of(layout)
    state = {name: torch.rand_like(value) if value.is_floating_point() else value for name, value in model.state_dict().items()}
    there = layout.from_ours(state)
    assert all(model.is_fresh(name) for name in there.unknown)
    back = layout.to_ours(there.tensors)
    assert back.unknown == ()
    assert back.tensors.keys() == state.keys() - set(there.unknown)
    assert all(torch.equal(value, state[name]) for name, value in back.tensors.items())
    assert any(layout.mark.match(name) for name in there.tensors)
