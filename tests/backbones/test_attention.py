"""Limits of attention, windows and numbers of keys, and attention in blocks."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from families import Family
from makers import tiers
from test_fast_paths import each_attentive, each_tapped, images
from torch import Tensor

from benchmarks import candidates, measure
from mmvit.layers import attention
from mmvit.layers.attention import from_windows, to_windows


def attention_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Will hold the batch, the queries and the keys of each call of torch's attention."""
    calls: list[tuple[int, int, int]] = []
    original = F.scaled_dot_product_attention

    def noted(query: Tensor, key: Tensor, value: Tensor, **options: object) -> Tensor:
        calls.append((query.shape[0], query.shape[2], key.shape[2]))
        return original(query, key, value, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", noted)
    return calls


def test_windows_there_and_back() -> None:
    tokens = torch.randn(2, 7 * 10, 3)
    windows = to_windows(tokens, (7, 10), 4)
    assert windows.shape == (2 * 2 * 3, 16, 3)
    feature_map = tokens.unflatten(1, (7, 10))
    torch.testing.assert_close(windows[1].unflatten(0, (4, 4)), feature_map[0, :4, 4:8])
    assert not windows[3].unflatten(0, (4, 4))[3].any()  # the eighth row, which is not there
    torch.testing.assert_close(from_windows(windows, (7, 10), 4), tokens)


@each_tapped
def test_a_window_as_large_as_the_image_is_global_attention(family: Family) -> None:
    windowed, whole = (family.randomised(window_size=size).eval()(images(64, 64)) for size in (4, None))
    torch.testing.assert_close(windowed, whole)


@each_tapped
def test_all_but_the_last_block_of_a_tap_see_their_window_only(family: Family) -> None:
    model = family.randomised(window_size=4)
    blocks = [module for module in model.modules() if hasattr(module, "attend") and hasattr(module, "window_size")]
    windowed = [index for index, block in enumerate(blocks) if block.window_size == 4]
    assert windowed == {"VOLO": [1], "T2TViT": [0]}[family.name]  # the first of two blocks of a tap
    grid, first = (8, 8), int(family.name == "T2TViT")  # the class token comes before the patches
    tokens = torch.randn(1, first + 64, 32, dtype=torch.float64)
    changed = tokens.clone()
    changed[:, first, 0] += 1
    for index, block in enumerate(blocks):
        apart = (block(changed, grid) - block(tokens, grid))[0, first:].abs().sum(dim=1).unflatten(0, grid) > 1e-12
        reach = 4 if index in windowed else 8
        assert apart[:reach, :reach].all()
        assert apart.sum() == reach**2
    if first:  # of the class token, the mean of what it becomes in each window
        windows = torch.cat([tokens[:, :1].expand(4, -1, -1), to_windows(tokens[:, 1:], grid, 4)], dim=1)
        mean = blocks[0].attend(windows, (4, 4))[:, :1].mean(dim=0, keepdim=True)
        torch.testing.assert_close(blocks[0].attend(tokens, grid)[:, :1], mean)


@each_tapped
@pytest.mark.parametrize("size", [0, -1, 2.5, "14"])
def test_bad_windows_are_refused(family: Family, size: object) -> None:
    with pytest.raises(ValueError, match=r"window_size=.*expected a number of tokens from 1"):
        family.build(window_size=size)


def test_keys_are_averaged_over_the_least_squares() -> None:
    tokens = torch.randn(2, 1 + 5 * 7, 3)
    assert attention.averaged(tokens, (5, 7), 35) is tokens
    fewer = attention.averaged(tokens, (5, 7), 12)
    feature_map = tokens[:, 1:].unflatten(1, (5, 7))
    assert fewer.shape == (2, 1 + 3 * 4, 3)
    torch.testing.assert_close(fewer[:, 0], tokens[:, 0])
    torch.testing.assert_close(fewer[:, 1], feature_map[:, :2, :2].mean(dim=(1, 2)))
    torch.testing.assert_close(fewer[:, 4], feature_map[:, :2, 6:].mean(dim=(1, 2)))  # what is left at the right
    torch.testing.assert_close(fewer[:, 12], feature_map[:, 4, 6])
    torch.testing.assert_close(attention.averaged(tokens, (5, 7), 1)[:, 1], feature_map.mean(dim=(1, 2)))


@each_attentive
def test_attention_sees_so_many_keys_at_most(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = attention_calls(monkeypatch)
    whole, limited, ample = (family.randomised(max_keys=keys).eval() for keys in (None, 6, 10_000))
    with torch.no_grad():
        expected = whole(images(256, 256))
        seen = {keys for *_, keys in calls}
        calls.clear()
        coarse = limited(images(256, 256))
        class_token = int(family.name == "T2TViT")
        assert max(seen) >= 64
        assert max(keys for *_, keys in calls) <= 6 + class_token
        assert [level.shape for level in coarse] == [level.shape for level in expected]
        assert any((ours - other).abs().max() > 1e-6 for ours, other in zip(expected, coarse, strict=True))
        torch.testing.assert_close(ample(images(256, 256)), expected)


@pytest.mark.parametrize(
    "name", tiers(("pvt_small", "pvt_v2_b2", "shunted_small", "volo_d1", "t2t_vit_14", "t2t_vit_t_14"), "pvt_small".__eq__)
)
def test_with_so_many_keys_the_cost_grows_with_the_pixels(name: str) -> None:
    """From the fewest pixels at which the limit of the keys holds; attention to all of them grows with the square."""
    settings = [candidates.Setting(name, 800, 1280, options=dict(max_keys=1000)), candidates.Setting(name, 1600, 2560)]
    settings.append(replace(settings[1], options=settings[0].options))
    small, square, large = (measure.cost_of(setting).multiply_adds for setting in settings)
    assert 3.9 < large / small < 4.1
    assert square > 1.5 * large


@each_attentive
@pytest.mark.parametrize("keys", [0, -1, 2.5, "14"])
def test_bad_numbers_of_keys_are_refused(family: Family, keys: object) -> None:
    with pytest.raises(ValueError, match=r"max_keys=.*expected a number of keys from 1"):
        family.build(max_keys=keys)


@pytest.mark.parametrize("scores", [1, 7, 60, 1 << 20], ids="{} scores".format)
@pytest.mark.parametrize(("batch", "heads", "queries", "keys"), [(1, 3, 20, 12), (2, 2, 12, 12), (3, 1, 5, 30)])
def test_attention_in_blocks_is_attention(
    scores: int, batch: int, heads: int, queries: int, keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "SCORES", scores)
    torch.manual_seed(0)
    query, key, value = (torch.randn(batch, number, heads * 8) for number in (queries, keys, keys))
    heads_of = [attention.split_heads(tokens.double(), heads) for tokens in (query, key, value)]
    for scale in (None, 0.2):
        ours = attention.attention_in_blocks(*heads_of, scale=scale)
        torch.testing.assert_close(ours, F.scaled_dot_product_attention(*heads_of, scale=scale))


def test_attention_in_blocks_is_for_inference_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU with instructions for it and without AMX; in training and with AMX, torch's own kernel computes."""
    calls = []
    monkeypatch.setattr(attention, "attention_in_blocks", lambda *_, **__: calls.append(1) or torch.zeros(1, 2, 4, 4))

    def attend(dtype: torch.dtype, bfloat16: bool = True, amx: bool = False) -> int:
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bfloat16, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
        attention.multi_head_attention(*(torch.rand(1, 4, 8, dtype=dtype) for _ in range(3)), heads=2)
        return len(calls)

    assert attend(torch.bfloat16) == 0, "gradients may be wanted"
    with torch.no_grad():
        assert attend(torch.float32) == 0
        assert attend(torch.bfloat16, bfloat16=False) == 0
        assert attend(torch.bfloat16, amx=True) == 0
        assert attend(torch.bfloat16) == 1
