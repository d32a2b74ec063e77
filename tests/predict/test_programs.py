"""What a .pt2 file of a stranger may not do: torch's reader runs what it asks for, so it is looked at first."""

import json
import zipfile
from pathlib import Path

import pytest
import torch
from makers import needs_programs

from mmvit.errors import InputError
from mmvit.predict.programs import is_expression, require_harmless

pytestmark = needs_programs


class Doubled(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, : images.shape[2] // 2] * 2


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("programs") / "good.pt2"
    sides = {2: torch.export.Dim("height", min=8, max=64)}
    torch.export.save(torch.export.export(Doubled(), (torch.rand(1, 3, 16, 8),), dynamic_shapes=(sides,)), file)
    return file


def changed(program: Path, old: str, new: str) -> Path:
    """A copy in which a text of the graph is another, or, without an old one, with one more entry."""
    file = program.with_name("changed.pt2")
    with zipfile.ZipFile(program) as archive, zipfile.ZipFile(file, "w") as copy:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith("models/model.json") and old:
                assert old in content.decode()
                content = content.decode().replace(old, new).encode()
            copy.writestr(name, content)
        if not old:
            copy.writestr(f"{archive.namelist()[0].partition('/')[0]}/{new}", b"")
    return file


def test_an_exported_program_is_harmless(program: Path) -> None:
    require_harmless(program)
    graph = json.loads(zipfile.ZipFile(program).read("good/models/model.json"))
    assert "expr_str" in json.dumps(graph)  # there was something to look at
    cut = program.with_name("cut.pt2")
    for share in (0.5, 0.8, 0.99):  # also behind an archive inside, the example inputs
        cut.write_bytes(program.read_bytes()[: int(program.stat().st_size * share)])
        with pytest.raises(zipfile.BadZipFile):
            require_harmless(cut)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("torch.ops.aten.mul.Tensor", "torch.os.system", "the operator 'torch.os.system'"),
        ("FloorDiv(", "__import__('os').system(", "the expression"),
        ("", "data/constants/custom_obj_0", "it holds data/constants/custom_obj_0"),
        ("", "data/constants/opaque_obj_0", "it holds data/constants/opaque_obj_0"),
        ("", "data/aotinductor/model/code.so", "it holds data/aotinductor/model/code.so"),
        ("", "data/weights/model.pt", "it holds data/weights/model.pt"),
    ],
)
def test_what_would_run_is_refused(program: Path, old: str, new: str, told: str) -> None:
    with pytest.raises(InputError, match="could run code") as caught:
        require_harmless(changed(program, old, new))
    assert told in str(caught.value)


@pytest.mark.parametrize("text", ["Symbol('s0').__class__", "(lambda: 1)()", "open('x')", "Symbol('x y')", "9 ** 9", "Add(", 7])
def test_expressions_of_sizes_only(text: object) -> None:
    assert not is_expression(text)
    assert is_expression("Add(Mul(Integer(32), FloorDiv(Symbol('s73', positive=True), Integer(-2))), Integer(7))")
