"""The authors' networks, number by number: their tensors through our loader, their outputs within rounding."""

import json
from pathlib import Path

import pytest
import torch
from families import FAMILIES, Family
from golden import recipe

FOLDER = Path(__file__).parent / "golden"
CASES = [(family, variant) for family in FAMILIES for variant in family.golden]


@pytest.fixture(params=CASES, ids=lambda case: case[1], scope="module")
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, object]:
    family, variant = request.param
    golden = json.loads((FOLDER / f"{variant}.json").read_text())
    file = tmp_path_factory.mktemp("golden") / f"{variant}.pth"
    torch.save({name: torch.from_numpy(recipe.tensor_for(name, tuple(shape))) for name, shape, _ in golden["state"]}, file)
    model = build(family, variant, file)
    return golden, model


def build(family: Family, variant: str, file: Path) -> torch.nn.Module:
    arch = variant.removeprefix(f"{family.kind.family}_")
    model = family.build(arch, **family.bare, init_cfg=dict(type="Pretrained", checkpoint=str(file))).double()
    model.init_weights()
    return model.eval()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-3)], ids=str)
@pytest.mark.parametrize("size", ["224x224", "256x320", "250x330"])
def test_outputs_are_the_authors(case: tuple, size: str, dtype: torch.dtype, tolerance: float) -> None:
    golden, model = case
    height, width = map(int, size.split("x"))
    with torch.no_grad():
        maps = model.to(dtype)(torch.from_numpy(recipe.image(height, width)).to(dtype))
    model.double()
    for level, feature_map in enumerate(maps, start=1):
        expected = golden["outputs"][size][f"level{level}"]
        digest = recipe.digest(feature_map.numpy())
        assert digest["shape"] == expected["shape"]
        assert digest["index"] == expected["index"]
        error = max(abs(a - b) for a, b in zip(digest["value"], expected["value"], strict=True))
        assert error <= tolerance * expected["std"]
        assert abs(digest["mean"] - expected["mean"]) <= tolerance * expected["std"]
        assert abs(digest["std"] - expected["std"]) <= tolerance * expected["std"]
