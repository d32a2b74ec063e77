"""What makes the backbones fast changes nothing: bands, outlook attention, windows, folded norms. No time is tested."""

import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from families import FAMILIES, Family
from makers import each_family
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import prune
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import candidates, measure
from benchmarks.written_out import outlook_attention
from mmvit.backbones.van_depthwise import convolve, depthwise, gradient_of_kernels
from mmvit.backbones.volo import OutlookAttention
from mmvit.backbones.volo_outlook import Outlook, gather, scatter
from mmvit.layers import attention, bands
from mmvit.layers.attention import from_windows, to_windows
from mmvit.layers.mlp import Mlp, MlpBase
from mmvit.layers.parts import to_map, to_tokens
from mmvit.pyramid import Pyramid

each_attentive = pytest.mark.parametrize(
    "family", [family for family in FAMILIES if family.attends], ids=lambda family: family.name
)
TAPPED = [family for family in FAMILIES if family.kind.tapped]
each_tapped = pytest.mark.parametrize("family", TAPPED, ids=lambda family: family.name)


def build(family: Family, **options: object) -> Pyramid:
    """A tiny backbone in float64, no tensor of which is all zeros or ones, with statistics in its batch norms."""
    torch.manual_seed(0)
    model = family.build(**options)
    model.init_weights()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    return model.double()


def images(height: int = 70, width: int = 100, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def use_bands(monkeypatch: pytest.MonkeyPatch, used: bool) -> None:
    """Several bands in the tiny backbones, or none."""
    monkeypatch.setattr(bands, "BAND", 10_000)
    monkeypatch.setattr(bands, "WHOLE", 0 if used else 1 << 30)


def step(model: nn.Module, inputs: Tensor) -> list[Tensor]:
    """Maps, and the gradients of the inputs and of all parameters that learn."""
    inputs = inputs.clone().requires_grad_()
    torch.manual_seed(0)  # of drop path and the performers' dropout
    maps = model(inputs)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    loss = torch.stack([feature_map.double().square().mean() for feature_map in maps]).sum()
    return [*maps, *torch.autograd.grad(loss, [inputs, *learning])]


@each_family
@pytest.mark.parametrize("options", [{}, dict(drop_path_rate=0.5), dict(with_cp=True), dict(frozen_stages=1)], ids=str)
def test_bands_change_no_map_and_no_gradient(
    family: Family, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(family, **options).train()
    use_bands(monkeypatch, False)
    whole = step(model, images(300, 100))
    use_bands(monkeypatch, True)
    for ours, expected in zip(step(model, images(300, 100)), whole, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)
    with torch.no_grad():
        for ours, expected in zip(
            model.eval()(images(300, 100)), model(images(300, 100).clone().requires_grad_()), strict=True
        ):
            torch.testing.assert_close(ours, expected)


@each_family
def test_multiply_adds_are_counted_without_bands(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = build(family), images(320, 96, batch=1)

    def counted() -> int:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(inputs)
        return counter.get_total_flops() // 2

    use_bands(monkeypatch, False)
    expected = counted()
    use_bands(monkeypatch, True)
    assert counted() == expected


@each_family
def test_hooks_on_parameters_see_one_gradient(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(family).train()
    seen: list[str] = []
    for name, parameter in model.named_parameters():
        parameter.register_hook(lambda gradient, name=name: seen.append(name) or 2 * gradient)
    found = []
    for used in (False, True):
        use_bands(monkeypatch, used)
        seen.clear()
        found.append(step(model, images(300, 100)))
        assert sorted(seen) == sorted(name for name, _ in model.named_parameters())
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)


@each_family
def test_bands_keep_nothing_wide(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    def kept(used: bool) -> tuple[int, int]:
        """Bytes kept for the backward pass, and bytes of all hidden layers' values."""
        use_bands(monkeypatch, used)
        tensors: dict[int, int] = {}
        wide: list[int] = []

        def note(tensor: Tensor) -> Tensor:
            tensors[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        model = build(family).train()
        if not used:
            for name, module in model.named_modules():
                if name.endswith(".mlp.fc1"):
                    module.register_forward_hook(lambda layer, given, hidden: wide.append(hidden.nbytes))
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model(images(300, 100))
        return sum(tensors.values()), sum(wide)

    whole, wide = kept(False)
    assert kept(True)[0] < whole - wide


@each_family
def test_bands_under_autocast(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(family).float().train()
    found = []
    for used in (False, True):
        use_bands(monkeypatch, used)
        with torch.autocast("cpu", torch.bfloat16):
            found.append(step(model, images(300, 100).float()))
    assert [tensor.dtype for tensor in found[0]] == [tensor.dtype for tensor in found[1]]
    whole, narrow = (torch.cat([tensor.double().flatten() for tensor in tensors[4:]]) for tensors in found)
    assert (narrow - whole).norm() < 0.02 * whole.norm()  # of all gradients; bfloat16 rounds to 0.004


class Adapted(nn.Linear):
    """A linear layer with something of its own added, as adapters have it."""

    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens) + tokens.mean(dim=2, keepdim=True)


@pytest.mark.parametrize("change", ["pruned", "replaced", "hooked", "hooked outside"])
def test_a_changed_last_layer_keeps_its_gradients(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    mlp = Mlp(6, 50).double()
    if change == "pruned":
        prune.random_unstructured(mlp.fc2, "weight", amount=0.5)
    elif change == "replaced":
        mlp.fc2 = Adapted(50, 6).double()
    else:
        hooked = mlp.fc2 if change == "hooked" else mlp
        hooked.register_forward_hook(lambda layer, given, narrow: narrow.square())
    tokens = torch.randn(1, 1000, 6, dtype=torch.float64)
    found = []
    for used in (False, True):
        use_bands(monkeypatch, used)
        mapped = mlp(tokens)
        found.append([mapped, *torch.autograd.grad(mapped.square().sum(), list(mlp.parameters()))])
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected)


@each_family
def test_hooks_on_modules_see_the_whole_image(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms, and each layer of an MLP: whoever watches a part sees it called once an image, with all tokens."""
    model = build(family).eval()
    mlps = [(name, module) for name, module in model.named_modules() if isinstance(module, MlpBase)]
    name, mlp = max(mlps, key=lambda entry: entry[1].width)
    parts = {part: module for part, module in mlp.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    parts["norm2"] = model.get_submodule(f"{name.rpartition('.')[0]}.norm2")
    use_bands(monkeypatch, True)
    for part, module in parts.items():
        seen: list[torch.Size] = []
        handle = module.register_forward_hook(lambda layer, given, output, seen=seen: seen.append(output.shape))
        model(images(300, 100))
        handle.remove()
        assert len(seen) == 1, part


@each_family
def test_bands_are_used(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without hooks, the widest MLP runs several times an image: what the other tests compare is not one form with itself."""
    model = build(family).eval()
    calls: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, MlpBase):
            monkeypatch.setattr(module, "hidden", noting(calls, name, module.hidden))
    use_bands(monkeypatch, True)
    model(images(300, 100))
    assert max(calls.count(name) for name in calls) > 1


def noting(calls: list[str], name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def noted(*arguments: object) -> Tensor:
        calls.append(name)
        return function(*arguments)

    return noted


def attention_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Will hold the batch, the queries and the keys of each call of torch's attention."""
    calls: list[tuple[int, int, int]] = []
    original = F.scaled_dot_product_attention

    def noted(query: Tensor, key: Tensor, value: Tensor, **options: object) -> Tensor:
        calls.append((query.shape[0], query.shape[2], key.shape[2]))
        return original(query, key, value, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", noted)
    return calls


@pytest.mark.parametrize("size", [(40, 33), (2, 5), (1, 1)])
@pytest.mark.parametrize(("kernel", "dilation"), [(5, 1), (7, 3), (3, 2)])
def test_depthwise_is_the_convolution(size: tuple[int, int], kernel: int, dilation: int) -> None:
    torch.manual_seed(0)
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(6, 6, kernel, padding=padding, dilation=dilation, groups=6).double()
    feature_map = torch.randn(2, 6, *size, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()
    wanted = [feature_map, *convolution.parameters()]
    found = [
        [mixed, *torch.autograd.grad(mixed.square().sum(), wanted)]
        for mixed in (depthwise(convolution, feature_map), convolution(feature_map))
    ]
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)
    for parameter in wanted[1:]:
        parameter.requires_grad_(False)
    (alone,) = torch.autograd.grad(depthwise(convolution, feature_map).square().sum(), feature_map)
    torch.testing.assert_close(alone, found[1][1], rtol=1e-10, atol=1e-10)


def test_depthwise_runs_in_the_dtype_of_autocast() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(6, 6, 7, padding=9, dilation=3, groups=6)
    feature_map = torch.randn(2, 6, 20, 21).contiguous(memory_format=torch.channels_last)
    exact = deepcopy(convolution).double()
    wanted = torch.autograd.grad(exact(feature_map.double()).square().sum(), list(exact.parameters()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = depthwise(convolution, feature_map)
        assert mixed.dtype is torch.bfloat16
        found = torch.autograd.grad(mixed.float().square().sum(), list(convolution.parameters()))
    for ours, expected in zip(found, wanted, strict=True):
        assert ours.dtype is torch.float32
        assert (ours - expected).abs().max() < 0.01 * expected.abs().max()


def test_depthwise_is_an_operator_that_compilers_know() -> None:
    """Its fake and its gradient are what it computes; a compiled program holds it, an exported one torch's convolution."""
    feature_map = torch.randn(2, 6, 20, 21).contiguous(memory_format=torch.channels_last)
    kernels = torch.randn(6, 1, 7, 7, requires_grad=True)
    torch.library.opcheck(convolve, (feature_map, kernels, torch.randn(6, requires_grad=True), 3))
    torch.library.opcheck(gradient_of_kernels, (feature_map, feature_map, kernels.detach(), 3))
    convolution = nn.Conv2d(6, 6, 7, padding=9, dilation=3, groups=6)
    module = Whole(convolution)
    seen: list[str] = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> torch.fx.GraphModule:
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    compiled = torch.compile(module, backend=backend, fullgraph=True)
    torch.testing.assert_close(compiled(feature_map), module(feature_map))
    assert any("depthwise" in name for name in seen)
    exported = torch.export.export(module, (feature_map,))
    assert not any("depthwise" in str(node.target) for node in exported.graph.nodes)


class Whole(nn.Module):
    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, feature_map: Tensor) -> Tensor:
        return depthwise(self.convolution, feature_map)


@pytest.mark.parametrize("batch", [1, 2])
def test_maps_of_tokens_are_channels_last(batch: int) -> None:
    """A convolution has to see it: torch asks the strides, and those of a batch of one can be anything."""
    tokens = torch.randn(batch, 12, 8)
    feature_map = to_map(tokens, (3, 4))
    assert nn.Conv2d(8, 8, 1)(feature_map).stride(1) == 1
    assert to_tokens(feature_map).data_ptr() == feature_map.data_ptr() == tokens.data_ptr()
    assert torch.equal(to_tokens(feature_map), tokens)


@pytest.mark.parametrize("grid", [(8, 12), (7, 12), (8, 11), (5, 5), (1, 1), (2, 3)])
def test_outlook_is_unfold_product_fold(grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    attention = OutlookAttention(16, heads=2).double()
    tokens = torch.randn(2, grid[0] * grid[1], 16, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn_like(tokens)
    found = [
        [mixed, *torch.autograd.grad(mixed, [tokens, *attention.parameters()], upstream)]
        for mixed in (attention(tokens, grid), outlook_attention(attention, tokens, grid))
    ]
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("grid", [(6, 4), (5, 7)])
def test_gathering_and_adding_are_adjoint(grid: tuple[int, int]) -> None:
    values = torch.randn(2, *grid, 3, 4, dtype=torch.float64)
    windows = torch.randn_like(gather(values))
    torch.testing.assert_close((gather(values) * windows).sum(), (values * scatter(windows, *grid)).sum())


def test_outlook_has_first_and_second_derivatives() -> None:
    weights = torch.randn(1, 2, 2, 1, 9, 9, dtype=torch.float64, requires_grad=True)
    values = torch.randn(1, 4, 3, 1, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Outlook.apply, (weights, values))
    assert torch.autograd.gradgradcheck(Outlook.apply, (weights, values), nondet_tol=1e-12)


TRITON = """
import torch
from mmvit.backbones import volo_outlook, volo_triton

torch.manual_seed(0)
for batch, height, width, heads, dim in ((2, 6, 8, 2, 32), (1, 5, 7, 3, 24), (1, 4, 40, 1, 16)):
    rows, columns = (height + 1) // 2, (width + 1) // 2
    values, other = torch.randn(2, batch, height, width, heads, dim)
    weights = torch.randn(batch, rows, columns, heads, 9, 9)
    for chosen in (weights, weights.transpose(-1, -2)):
        torch.testing.assert_close(volo_triton.mix(chosen, values), volo_outlook.mix(chosen, values), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(volo_triton.outer(other, values), volo_outlook.outer(other, values), rtol=1e-4, atol=1e-4)
print("equal")
"""


def test_triton_kernels_equal_their_reference_in_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton", reason="comes with PyTorch for Linux and CUDA")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    ran = subprocess.run([sys.executable, "-c", TRITON], capture_output=True, text=True)
    assert ran.stdout == "equal\n", ran.stderr


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
    windowed, whole = (build(family, window_size=size).eval() for size in (4, None))
    for ours, expected in zip(windowed(images(64, 64)), whole(images(64, 64)), strict=True):
        torch.testing.assert_close(ours, expected)


@each_tapped
def test_all_but_the_last_block_of_a_tap_see_their_window_only(family: Family) -> None:
    model = build(family, window_size=4)
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
    whole, limited, ample = (build(family, max_keys=keys).eval() for keys in (None, 6, 10_000))
    with torch.no_grad():
        expected = whole(images(256, 256))
        seen = {keys for *_, keys in calls}
        calls.clear()
        coarse = limited(images(256, 256))
        class_token = int(family.name == "T2TViT")
        assert max(seen) >= 64
        assert max(keys for *_, keys in calls) <= 6 + class_token
        for ours, other in zip(expected, coarse, strict=True):
            assert ours.shape == other.shape
        assert any((ours - other).abs().max() > 1e-6 for ours, other in zip(expected, coarse, strict=True))
        for ours, other in zip(expected, ample(images(256, 256)), strict=True):
            torch.testing.assert_close(ours, other)


@pytest.mark.parametrize("name", ["pvt_small", "pvt_v2_b2", "shunted_small", "volo_d1", "t2t_vit_14", "t2t_vit_t_14"])
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
    """On a CPU with instructions for it; in training and in compiled programs torch's own kernel computes."""
    calls = []
    monkeypatch.setattr(attention, "attention_in_blocks", lambda *_, **__: calls.append(1) or torch.zeros(1, 2, 4, 4))

    def attend(dtype: torch.dtype, supported: bool = True) -> int:
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported, raising=False)
        attention.multi_head_attention(*(torch.rand(1, 4, 8, dtype=dtype) for _ in range(3)), heads=2)
        return len(calls)

    assert attend(torch.bfloat16) == 0, "gradients may be wanted"
    with torch.no_grad():
        assert attend(torch.float32) == 0
        assert attend(torch.bfloat16, supported=False) == 0
        assert attend(torch.bfloat16) == 1
