"""What makes the backbones fast changes nothing: bands, and maps in the layout of tokens. No time is tested."""

from collections.abc import Callable

import pytest
import torch
from families import FAMILIES, Family
from makers import each_family, needs_exporting
from torch import Tensor, nn
from torch.nn.utils import prune

from mmvit.compat.versions import flop_counter
from mmvit.layers import bands
from mmvit.layers.mlp import Mlp, MlpBase
from mmvit.layers.parts import to_map, to_tokens

each_attentive = pytest.mark.parametrize(
    "family", [family for family in FAMILIES if family.attends], ids=lambda family: family.name
)
TAPPED = [family for family in FAMILIES if family.kind.tapped]
each_tapped = pytest.mark.parametrize("family", TAPPED, ids=lambda family: family.name)


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
    model, given = family.randomised(**options).train(), images(300, 100)
    use_bands(monkeypatch, False)
    whole = step(model, given)
    use_bands(monkeypatch, True)
    torch.testing.assert_close(step(model, given), whole, rtol=1e-9, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(given), model(given.clone().requires_grad_()))


@each_family
def test_multiply_adds_are_counted_without_bands(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = family.randomised(), images(320, 96, batch=1)

    def counted() -> int:
        with torch.no_grad(), flop_counter(model) as counter:
            model(inputs)
        return counter.get_total_flops() // 2

    use_bands(monkeypatch, False)
    expected = counted()
    use_bands(monkeypatch, True)
    assert counted() == expected


@each_family
def test_hooks_on_parameters_see_one_gradient(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    model = family.randomised().train()
    seen: list[str] = []
    for name, parameter in model.named_parameters():
        parameter.register_hook(lambda gradient, name=name: seen.append(name) or 2 * gradient)
    found = []
    for used in (False, True):
        use_bands(monkeypatch, used)
        seen.clear()
        found.append(step(model, images(300, 100)))
        assert sorted(seen) == sorted(name for name, _ in model.named_parameters())
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


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

        model = family.randomised().train()
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
    """Of five models together: where rounding to bfloat16 falls in one of them is chance."""
    away, length = torch.zeros(2, dtype=torch.float64)
    for seed in range(5):
        model = family.randomised(seed=seed).float().train()
        found = []
        for used in (False, True):
            use_bands(monkeypatch, used)
            with torch.autocast("cpu", torch.bfloat16):
                found.append(step(model, images(300, 100).float()))
        assert [tensor.dtype for tensor in found[0]] == [tensor.dtype for tensor in found[1]]
        whole, narrow = (torch.cat([tensor.double().flatten() for tensor in tensors[4:]]) for tensors in found)
        away, length = torch.hypot(away, (narrow - whole).norm()), torch.hypot(length, whole.norm())
    assert away < 0.02 * length  # of all gradients; bfloat16 rounds to 0.004


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
    torch.testing.assert_close(*found)


@each_family
def test_hooks_on_modules_see_the_whole_image(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms, and each layer of an MLP: whoever watches a part sees it called once an image, with all tokens."""
    model = family.randomised().eval()
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
@pytest.mark.parametrize("training", [False, True])
def test_every_layer_is_called(family: Family, training: bool) -> None:
    """Hooks and wrappers, as of LoRA, work on any layer: none is computed behind its back from its weights."""
    model = family.build(drop_path_rate=0.1).train(training)
    layers = {name for name, module in model.named_modules() if next(module.parameters(recurse=False), None) is not None}
    layers -= {name for name in layers if next(model.get_submodule(name).children(), None)}  # holders of tables
    seen: set[str] = set()
    for name in layers:
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: seen.add(name))
    with torch.set_grad_enabled(training):
        model(images(64, 96).float())
    assert layers == seen


@each_family
def test_bands_are_used(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without hooks, the widest MLP runs several times an image: what the other tests compare is not one form with itself."""
    model = family.randomised().eval()
    calls: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, MlpBase):
            monkeypatch.setattr(module, "hidden", noting(calls, name, module.hidden))
    use_bands(monkeypatch, True)
    model(images(300, 100))
    assert max(calls.count(name) for name in calls) > 1


@each_family
@pytest.mark.parametrize("changed", ["nothing", "layer", "hook"])
@needs_exporting
def test_exported_mlps_do_not_move_the_hidden_layer(family: Family, changed: str) -> None:
    """Runtimes copy at each transposition: they are narrow, unless a layer was replaced or is hooked, which has to count."""
    model = family.randomised().eval()
    mlp = max((module for module in model.modules() if isinstance(module, MlpBase)), key=lambda module: module.width)
    given: list[tuple[object, ...]] = []
    handle = mlp.register_forward_pre_hook(lambda module, inputs: given.append(inputs))
    model(images())
    handle.remove()
    if changed == "layer":
        mlp.fc2 = nn.Sequential(mlp.fc2, nn.Tanh())
    elif changed == "hook":
        mlp.fc2.register_forward_hook(lambda layer, inputs, narrow: narrow.tanh())
    program = torch.export.export(mlp, given[0])
    torch.testing.assert_close(program.module()(*given[0]), mlp(*given[0]))
    moved = [node.meta["val"].numel() for node in program.graph.nodes if "permute" in str(node.target)]
    assert changed != "nothing" or all(values == given[0][0].numel() for values in moved)


def noting(calls: list[str], name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def noted(*arguments: object) -> Tensor:
        calls.append(name)
        return function(*arguments)

    return noted


@pytest.mark.parametrize("batch", [1, 2])
def test_maps_of_tokens_are_channels_last(batch: int) -> None:
    """A convolution has to see it: torch asks the strides, and those of a batch of one can be anything."""
    tokens = torch.randn(batch, 12, 8)
    feature_map = to_map(tokens, (3, 4))
    assert nn.Conv2d(8, 8, 1)(feature_map).stride(1) == 1
    assert to_tokens(feature_map).data_ptr() == feature_map.data_ptr() == tokens.data_ptr()
    assert torch.equal(to_tokens(feature_map), tokens)
