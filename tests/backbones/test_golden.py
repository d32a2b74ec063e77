"""The authors' networks, number by number: their tensors through our loader, their outputs and gradients within rounding.

`golden/VARIANT.json` holds digests of what the authors' code computes, `golden/gradients.json` two numbers for the gradient of
every parameter, at 96 x 128 and batch 2: its norm and its product with `recipe.tensor_for(NAME.gradient)`.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from families import FAMILIES
from golden import recipe

FOLDER = Path(__file__).parent.parent / "golden"
CASES = [(family, variant) for family in FAMILIES for variant in family.golden]


@pytest.fixture(params=CASES, ids=lambda case: case[1], scope="module")
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, object]:
    family, variant = request.param
    golden = json.loads((FOLDER / f"{variant}.json").read_text())
    file = tmp_path_factory.mktemp("golden") / f"{variant}.pth"
    torch.save({name: torch.from_numpy(recipe.tensor_for(name, tuple(shape))) for name, shape, _ in golden["state"]}, file)
    arch = variant.removeprefix(f"{family.kind.record.name}_")
    model = family.build(arch, **family.bare, init_cfg=dict(type="Pretrained", checkpoint=str(file))).double()
    model.init_weights()
    return golden, model.eval()


def test_gradients_are_the_authors(case: tuple) -> None:
    golden, model = case
    expected = json.loads((FOLDER / "gradients.json").read_text())[golden["variant"]]
    image = torch.from_numpy(recipe.image(96, 128, batch=2)).requires_grad_()
    model.zero_grad()
    weighted = (level * torch.from_numpy(recipe.weights(number, level.shape)) for number, level in enumerate(model(image)))
    loss = sum(level.mean() for level in weighted)
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    ours = {name: gradients[model.record.our_name(name)] for name in expected if name != "image"} | {"image": image.grad}
    for name, (norm, product) in expected.items():
        gradient = ours[name].numpy()
        if name == "pos_embed4":  # the class token's row, which gets no gradient, is not here
            gradient = np.concatenate([np.zeros_like(gradient[:, :1]), gradient], axis=1)
        error = np.vdot(gradient, recipe.tensor_for(f"{name}.gradient", gradient.shape)) - product
        assert abs(np.linalg.norm(gradient) - norm) <= 1e-5 * norm, name
        assert abs(error) <= 1e-5 * norm, name


@pytest.mark.parametrize(
    ("size", "dtype", "tolerance"),
    [*((size, torch.float64, 1e-6) for size in ("224x224", "256x320", "250x330")), ("250x330", torch.float32, 1e-3)],
    ids=str,
)
def test_outputs_are_the_authors(case: tuple, size: str, dtype: torch.dtype, tolerance: float) -> None:
    golden, model = case
    height, width = map(int, size.split("x"))
    seen = {}
    if hasattr(model, "tokens_to_token"):  # T2T's files also hold the module's own token maps
        note = model.tokens_to_token.register_forward_hook(lambda module, images, output: seen.update(tokens=output[2]))
    with torch.no_grad():
        maps = model.to(dtype)(torch.from_numpy(recipe.image(height, width)).to(dtype))
    model.double()
    found = {f"level{number}": level for number, level in enumerate(maps, start=1)}
    for number, token_map in enumerate(seen.get("tokens", ()), start=1):
        note.remove()
        if f"token{number}" in golden["outputs"][size]:
            found[f"token{number}"] = token_map[..., : -(-height // (2 << number)), : -(-width // (2 << number))]
    assert found.keys() == golden["outputs"][size].keys()
    for name, feature_map in found.items():
        expected = golden["outputs"][size][name]
        digest = recipe.digest(feature_map.numpy())
        assert digest["shape"] == expected["shape"]
        assert digest["index"] == expected["index"]
        error = max(abs(a - b) for a, b in zip(digest["value"], expected["value"], strict=True))
        assert error <= tolerance * expected["std"]
        assert abs(digest["mean"] - expected["mean"]) <= tolerance * expected["std"]
        assert abs(digest["std"] - expected["std"]) <= tolerance * expected["std"]
