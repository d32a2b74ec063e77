"""Peers: the same networks of other packages compute the same as ours, or say that they are others."""

import pytest
import torch
from torch import nn

import mmvit
from benchmarks import candidates, measure, peers
from benchmarks.peer import give_weights
from mmvit.errors import InputError

PEER_CASES = [
    ("timm", "pvt_v2_b0"),
    ("timm", "pvt_v2_b2_li"),
    ("timm", "volo_d1"),
    pytest.param("mmdet", "pvt_tiny", marks=pytest.mark.stack),
    pytest.param("mmdet", "pvt_v2_b0", marks=pytest.mark.stack),
    pytest.param("mmpretrain", "van_b0", marks=pytest.mark.stack),
    pytest.param("mmpretrain", "t2t_vit_t_14", marks=pytest.mark.stack),
]


@pytest.mark.parametrize(("package", "name"), PEER_CASES)
def test_peer_computes_the_same(package: str, name: str) -> None:
    if package == "mmpretrain":
        pytest.importorskip("mmpretrain")
    setting = candidates.Setting(name, 64, 96)
    ours = candidates.reference(setting).eval()
    peer = peers.build_peer(package, name, ours, 64, 96)
    assert peer is not None
    assert peer.comparable
    images = candidates.images_of(setting)
    with torch.no_grad():
        assert measure.difference(peer.network, images, ours(images)) < 1e-5


@pytest.mark.stack
def test_a_different_network_is_not_compared() -> None:
    model = mmvit.create("pvt_v2_b0")
    peer = peers.build_peer("mmseg", "pvt_v2_b0", model, 64, 96)
    assert peer is not None
    assert not peer.comparable
    assert "another network" in peer.remark
    with torch.no_grad():
        shapes = [feature_map.shape for feature_map in peer.network.eval()(torch.rand(1, 3, 64, 96))]
        assert shapes == [feature_map.shape for feature_map in model.eval()(torch.rand(1, 3, 64, 96))]


def test_what_a_peer_does_not_have_is_none() -> None:
    for package, name in (("timm", "van_b0"), ("mmdet", "pvt_v2_b2_li"), ("mmseg", "pvt_v2_b2_li")):
        if package in peers.installed():
            assert peers.build_peer(package, name, mmvit.create(name), 64, 96) is None
    assert peers.build_peer("timm", "volo_d1", mmvit.create("volo_d1"), 60, 96) is None, "timm's takes multiples of 16"


def test_weights_that_do_not_fit_are_told() -> None:
    model = mmvit.create("pvt_v2_b0")
    with pytest.raises(
        RuntimeError, match=r"Linear has no \['patch_embed.norm.bias', .*nothing was found for \['bias', 'weight'\]"
    ):
        give_weights(model, nn.Linear(2, 2), "timm")


def test_a_peer_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda package: None)
    with pytest.raises(InputError, match="--against timm: the package is not installed here"):
        peers.check_peers(["written-out", "timm"])
    assert peers.installed() == ["written-out"]
