"""A new family costs its file, a row of the tests' data and a row of the recipes: `tests/newcomer` has those of a toy."""

import re

import pytest
from makers import HOME, run_python

pytestmark = [pytest.mark.stack, pytest.mark.once, pytest.mark.slow]

PATHS = [str(HOME / folder) for folder in ("", "tests", "tests/newcomer")]
NEEDS_GOLDEN = "test_tensors_are_those_of_the_released_files"  # and the 40 archs of today, which another test counts


def run(code: str) -> str:
    return run_python("-c", f"import sys; sys.path[:0] = {PATHS!r}; import seventh; {code}", cwd=HOME).stdout


def test_contract_loading_and_layer_decay() -> None:
    """The tests that run over families run over this one."""
    rooms = [
        "backbones/test_contract.py",
        "backbones/test_fast_paths.py",
        "weights/test_weights.py",
        "engine/test_layer_decay.py",
    ]
    code = (
        "import pytest; sys.exit(pytest.main(['-q', '-p', 'seventh', '-p', 'no:cacheprovider', '-k', "
        f"'PoolFormer and not {NEEDS_GOLDEN}', *{[f'tests/{room}' for room in rooms]!r}]))"
    )
    out = run(code)
    passed = re.search(r"(\d+) passed", out)
    assert passed is not None, out
    assert int(passed[1]) >= 60, out
    assert all("not in this version of torch" in line for line in out.splitlines() if line.startswith("SKIPPED")), out


def test_list_create_and_a_config() -> None:
    out = run("from mmvit.__main__ import main; main(['list', 'poolformer*'])")
    assert [line.split()[0] for line in out.splitlines()] == ["name", "poolformer_s12", "poolformer_s24"]
    out = run(
        "import mmvit, torch; from mmvit.recipes.configs import parse, text; "
        "maps = mmvit.create('poolformer_s12')(torch.rand(1, 3, 64, 96)); print([tuple(m.shape) for m in maps]); "
        "print(text(parse('retinanet_poolformer_s12_coco')))"
    )
    assert "[(1, 64, 16, 24), (1, 128, 8, 12), (1, 320, 4, 6), (1, 512, 2, 3)]" in out
    assert 'type="mmvit.PoolFormer"' in out
    assert "https://example.org/poolformer_s12.pth" in out


def test_retinanet_trains_with_it_and_fsdp_finds_its_blocks() -> None:
    """The generated config builds, its loss has a gradient in every parameter, and each block is one of FSDP's units."""
    assert run("import retinanet; retinanet.step()").splitlines()[-1] == "no gradient: [], blocks: 5"
