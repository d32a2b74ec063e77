"""`import mmvit.timm`: every arch in timm's registry, with timm's options."""

from typing import Any

import pytest
import timm
import torch
from timm.data import resolve_model_data_config

import mmvit.timm
from mmvit import InputError
from mmvit.weights.released import FILES
from mmvit.zoo import create, find, list_archs

PREFIX = "mmvit_"
SMALL = ["pvt_tiny", "pvt_v2_b0", "shunted_tiny", "t2t_vit_7", "van_b0", "volo_d1"]


def features(name: str = "van_b0", **options: Any) -> Any:
    return timm.create_model(PREFIX + name, features_only=True, **options)


def test_every_arch_is_listed() -> None:
    assert sorted(timm.list_models(f"{PREFIX}*")) == sorted(PREFIX + name for name in list_archs())
    released = [row for row in FILES.values() if row is not None and row.url]
    assert len(timm.list_models(f"{PREFIX}*", pretrained=True)) >= len(released)
    assert f"{PREFIX}volo_d1.384" in timm.list_pretrained(f"{PREFIX}volo*")


@pytest.mark.parametrize("name", SMALL)
def test_an_arch_is_built_and_tells_its_maps(name: str) -> None:
    """On the meta device, as segmentation_models_pytorch looks at a network first."""
    family, arch = find(name)
    with torch.device("meta"):
        net = features(name, out_indices=(0,))
        plain = family(arch)
    assert [row["num_chs"] for row in net.feature_info.info] == list(plain.out_channels)
    assert [row["reduction"] for row in net.feature_info.info] == list(plain.out_strides)


@pytest.mark.parametrize("name", SMALL)
def test_maps_are_those_of_create(name: str) -> None:
    net = features(name, in_chans=4, out_indices=(1, -1)).eval()
    plain = create(name, in_channels=4, out_indices=(1, 3)).eval()
    plain.load_state_dict(net.model.state_dict())
    images = torch.rand(1, 4, 70, 64)
    with torch.no_grad():
        maps, expected = net(images), plain(images)
    assert isinstance(maps, list)
    for found, wanted, channels, stride in zip(
        maps, expected, net.feature_info.channels(), net.feature_info.reduction(), strict=True
    ):
        assert torch.equal(found, wanted)
        assert found.shape == (1, channels, -(-70 // stride), 64 // stride)


def test_intermediates() -> None:
    net = features(out_indices=(0, 1, 3)).eval()
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        maps = net(images)
        last, found = net.forward_intermediates(images, indices=[0, -1])
        assert [torch.equal(*pair) for pair in ((last, maps[2]), (found[0], maps[0]), (found[1], maps[2]))] == [True] * 3
        assert len(net.forward_intermediates(images, intermediates_only=True)) == 3
    assert all(level.is_contiguous() for level in found)
    for options in (dict(indices=[2]), dict(output_fmt="NLC")):
        with pytest.raises(InputError, match=r"expected some of the levels \[0, 1, 3\]"):
            net.forward_intermediates(images, **options)


def test_options_of_timm_and_of_the_backbone() -> None:
    net = features(out_indices=2, num_classes=0, drop_path_rate=0.1)
    assert net.model.out_indices == (2, 3)
    assert net.feature_info.channels() == [160, 256]
    assert [row["num_chs"] for row in net.feature_info.info] == [32, 64, 160, 256]
    net.set_grad_checkpointing()
    assert net.model.with_cp
    assert net.model.stages[3].blocks[-1].drop_path.drop_prob == pytest.approx(0.1)
    data = resolve_model_data_config(features("volo_d1.384", out_indices=(0,)))
    assert data["input_size"] == (3, 384, 384)
    assert data["mean"] == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(), "create it with features_only=True as a backbone.*with num_classes=1000 it is its authors' classifier"),
        (dict(num_classes=10), "of other classes there is none"),
        (dict(features_only=True, output_stride=16), "cannot be dilated, which DeepLabV3"),
        (dict(features_only=True, cache_dir="somewhere"), "TORCH_HOME"),
        (dict(features_only=True, widen_factor=2), "has no option widen_factor"),
        (dict(features_only=True, out_indices=(0, 4)), "out_indices"),
    ],
)
def test_what_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        timm.create_model(f"{PREFIX}van_b0", **options)


def test_second_names_for_those_who_look_for_vit() -> None:
    """anomalib's extractor takes a name with "vit" in it for a plain ViT; of others it makes a net of feature maps, as here."""
    names = timm.list_models("pyramid_*")
    assert len(names) == len(list_archs())
    assert not any("vit" in name for name in names)
    options = dict(features_only=True, exportable=True, pretrained_cfg=None, out_indices=[0, 1], dynamic_img_size=True)
    for name in ("pyramid_van_b0", "pyramid_t2t_7"):
        assert len(timm.create_model(name, **options).feature_info.channels()) == 2
    assert timm.get_pretrained_cfg("pyramid_volo_d1.384").input_size == (3, 384, 384)


def test_pretrained_loads_the_released_file(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(mmvit.timm, "create", lambda name, source, **options: asked.append(source) or create(name, **options))
    for name in ("van_b0", "volo_d1.384", "t2t_vit_14.384", "shunted_tiny"):
        features(name, pretrained=True, out_indices=(0,))
    assert asked == ["mmvit://van_b0", "mmvit://volo_d1_384", "mmvit://t2t_vit_14_384", "mmvit://shunted_tiny"]
    for overlay in (dict(url="https://example.org/a.pth"), dict(hf_hub_id="owner/repo"), dict(file="own.pth")):
        features(pretrained=True, out_indices=(0,), pretrained_cfg_overlay=overlay)
    assert asked[4:] == ["https://example.org/a.pth", "hf://owner/repo", "own.pth"]


def test_own_files(tmp_path) -> None:
    """A file of ours through `pretrained_cfg_overlay=dict(file=...)`, and one of the whole net through `checkpoint_path`."""
    path = tmp_path / "van_b0.pth"
    trained = create("van_b0")
    torch.save(trained.state_dict(), path)
    net = features(pretrained=True, pretrained_cfg_overlay=dict(file=str(path)))
    torch.testing.assert_close(net.model.state_dict(), trained.state_dict(), rtol=0, atol=0)
    torch.save(net.state_dict(), path)
    again = features(checkpoint_path=str(path))
    torch.testing.assert_close(again.state_dict(), net.state_dict(), rtol=0, atol=0)
