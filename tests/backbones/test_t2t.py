"""T2T-ViT's explored designs and kinds of tokens, each in a tiny copy: the contract suite runs over one of them only."""

from typing import Any

import pytest
import torch
from families import BY_NAME, FAMILIES, idle, released_state

from mmvit.weights.loading import load_pretrained

T2T = BY_NAME["T2TViT"]
VARIANTS: dict[str, dict[str, Any]] = {
    "transformer tokens": dict(tokens="transformer"),
    "convolution tokens": dict(tokens="convolution"),
    "se": dict(arch=dict(T2T.tiny, design="se", embed_dim=128)),
    "ghost": dict(arch=dict(T2T.tiny, design="ghost", mlp_ratio=3)),
    "dense": dict(arch=dict(T2T.tiny, design="dense", depths=[2, 1, 2, 1])),
    "no laterals": dict(token_laterals=False),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants(variant: str, tmp_path: Any) -> None:
    model = T2T.initialised(**VARIANTS[variant])
    for name, value in model.state_dict().items():
        if model.is_fresh(name) and name.endswith("weight") and value.ndim > 1:
            torch.nn.init.normal_(value, std=0.1)
    images = torch.randn(2, 3, 70, 100)
    maps = model(images)
    for level, channels, stride in zip(maps, model.out_channels, (4, 8, 16, 32), strict=True):
        assert level.shape == (2, channels, -(-70 // stride), -(-100 // stride))
    sum(level.square().mean() for level in maps).backward()
    assert idle(model) == []
    torch.save(released_state(T2T, model), tmp_path / "file.pth")
    again, bare = (T2T.build(**VARIANTS[variant], strides=None).eval() for _ in range(2))
    report = load_pretrained(again, tmp_path / "file.pth")
    assert all(again.is_fresh(name) for name in report.missing)
    load_pretrained(bare, tmp_path / "file.pth")
    torch.testing.assert_close(again(images), bare(images), rtol=0, atol=0)


def test_dense_channels_are_readable() -> None:
    with torch.device("meta"):
        assert T2T.build("dense").out_channels == (288, 272, 656, 584)


def test_laterals_bring_the_token_maps() -> None:
    model = T2T.initialised(out_indices=(0, 2)).eval()
    assert list(model.laterals) == ["0"]
    assert list(model.taps) == ["0", "2"]
    images = torch.randn(1, 3, 64, 64)
    before = model(images)
    torch.nn.init.constant_(model.laterals["0"].bias, 1.0)
    after = model(images)
    torch.testing.assert_close(after[0], before[0] + 1)
    assert torch.equal(after[1], before[1])


def test_transformer_tokens_need_no_square_matrix() -> None:
    """Attention at stride 4 over 112 x 128 tokens, whose matrix alone would be 822 MB."""
    model = T2T.build(tokens="transformer").eval()
    largest = 0

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                largest = max(largest, result.numel())
            return result

    with torch.no_grad(), Watch():
        model(torch.zeros(1, 3, 448, 512))
    assert largest < 112 * 128 * 256


def test_unknown_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="performer, transformer or convolution"):
        T2T.build(tokens="linear")
    with pytest.raises(ValueError, match="plain, se, ghost, dense"):
        T2T.build(dict(T2T.tiny, design="sparse"))


@pytest.mark.parametrize("family", [family for family in FAMILIES if family.bare], ids=lambda family: family.name)
def test_strides(family: Any) -> None:
    bare = family.build(strides=None)
    assert bare.out_strides == tuple(64 // level.shape[-1] for level in bare(torch.zeros(1, 3, 64, 64)))
    assert set(bare.out_strides) <= {8, 16}
    with pytest.raises(ValueError, match="expected one for each"):
        family.build(strides=(8, 16))
    with pytest.raises(ValueError, match="cannot be brought to 64"):
        family.build(strides=(4, 8, 16, 64))
