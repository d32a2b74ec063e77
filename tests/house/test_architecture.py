"""Which room may import which: arrows point down, and nothing goes round in a circle."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from makers import HOME

# From the bottom up. A file may import from its own room and from those above it in this list; see docs/architecture.md.
ROOMS = (
    "errors version",
    "arguments",
    "registry",
    "data",
    "compat",
    "layers",
    "losses",
    "weights",
    "pyramid",
    "backbones",
    "zoo complexity",
    "timm torchvision detectron2 lightly_train monai",
    "transformers",
    "config",
    "recipes",
    "predict",
    "measure",
    "checks",
    "engine",
    "trial",
    "export",
    "look",
    "demo",
    "project",
    "commands",
    "__main__",
    "benchmarks",
)
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms.split()}


def files() -> list[Path]:
    return [file for folder in ("mmvit", "benchmarks") for file in sorted((HOME / folder).rglob("*.py"))]


def module_of(file: Path) -> str:
    parts = file.relative_to(HOME).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file) for file in files()}


def imports_of(file: Path) -> Iterator[str]:
    """Modules of ours that a file imports, also inside of functions."""
    package = [*file.relative_to(HOME).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{start}.{alias.name}" if f"{start}.{alias.name}" in MODULES else start for alias in node.names]
        else:
            continue
        yield from (name for name in names if name in MODULES)


@cache
def arrows() -> dict[str, set[str]]:
    return {module_of(file): set(imports_of(file)) - {module_of(file)} for file in files()}


def room_of(module: str) -> str:
    first, _, rest = module.partition(".")
    return first if first == "benchmarks" else rest.partition(".")[0]


def test_every_room_has_its_place() -> None:
    assert {room_of(module) for module in MODULES} - {""} == set(LEVEL)


def test_the_page_has_every_room_in_order() -> None:
    page = (HOME / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (`.+?`) \|", page, re.MULTILINE)
    assert [re.findall(r"`(\w+)`", row) for row in rows] == [rooms.split() for rooms in ROOMS], "docs/architecture.md"


def test_arrows_point_down() -> None:
    wrong = [
        f"{source} imports {target}"
        for source, targets in arrows().items()
        for target in targets
        if room_of(source) and room_of(target) and room_of(target) != room_of(source)
        if LEVEL[room_of(target)] >= LEVEL[room_of(source)]
    ]
    assert wrong == []


def test_the_house_has_few_floors() -> None:
    """A room stands above all that it imports. The scripts in `tools` stand on the floor above the highest one here."""
    below = {
        room: {room_of(one) for module in arrows() if room_of(module) == room for one in arrows()[module]} for room in LEVEL
    }

    def floor(room: str) -> int:
        return 1 + max((floor(other) for other in below[room] - {room, ""}), default=0)

    assert max(map(floor, LEVEL)) <= 11


def test_nothing_goes_round_in_a_circle() -> None:
    graph = {source: {target for target in targets if target != "mmvit"} for source, targets in arrows().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
    families = [module for module in arrows() if "register_module" in source_of(module) and room_of(module) == "backbones"]
    crossing = [f"{one} imports {other}" for one in families for other in arrows()[one] if other in families]
    assert len(families) > 5
    assert crossing == []


def source_of(module: str) -> str:
    path = HOME / module.replace(".", "/")
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()


def test_the_package_has_few_files_at_its_top() -> None:
    assert len(list((HOME / "mmvit").glob("*.py"))) <= 9


def test_test_modules_have_names_of_their_own() -> None:
    """pytest imports each by its name alone, and stops at the second of a name."""
    names = Counter(file.name for file in (HOME / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
