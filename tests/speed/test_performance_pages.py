"""docs/performance.md and its charts are what the stored measurements say."""

import json
import re
from pathlib import Path

import pytest
import torch
from makers import HOME, needs_heads

from benchmarks import charts, compare, grid, heads, measure, pages, records, whole
from mmvit.compat import systems
from mmvit.zoo import list_archs

RUNS = records.read()


@pytest.mark.parametrize("name", list(pages.contents(RUNS)))
def test_the_page_is_written_from_the_results(name: str) -> None:
    assert (HOME / name).read_text() == pages.contents(RUNS)[name], "python -m benchmarks.pages writes it"


@pytest.mark.parametrize("file", sorted(records.FOLDER.glob("*.json")), ids=lambda file: file.stem)
def test_results_say_where_they_come_from(file: Path) -> None:
    content = json.loads(file.read_text())
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", content["date"])
    assert file.stem.startswith(content["date"])
    assert "threads" in content["machine"]
    assert content["commit"]
    assert content["command"].startswith("python ") or content["command"] == "not recorded"  # reported to us, not run here
    for row in content["rows"]:
        assert row["model"] in list_archs() or (HOME / "configs" / f"{row['model']}.py").is_file()
        assert {"ms", "ratio", "memory_mib"} & set(row)


def test_no_head_failed_with_a_family() -> None:
    for cell in heads.read()["cells"]:
        assert (HOME / "configs" / f"{cell['config']}.py").is_file()
        assert [step for step in heads.STEPS if cell.get(step, heads.FAILED).startswith(heads.FAILED)] == [], cell["config"]


@pytest.mark.slow
@pytest.mark.once
@needs_heads
def test_a_cell_of_the_grid_is_tried(tmp_path: Path) -> None:
    cell = grid.cell(next(leaf for leaf in grid.CELLS if leaf.name == "fpn_van_b2_ade20k"), tmp_path / "cell")
    assert cell["reloads"].endswith("are equal")
    assert cell["predicts"] == "4 label maps"
    assert cell["exports"].startswith("agrees with the model")


def test_the_grid_tells_models_apart() -> None:
    one = dict(weight=torch.zeros(2))
    grid.require_equal(one, dict(weight=torch.zeros(2)))
    for other in (dict(weight=torch.ones(2)), {}, dict(one, bias=torch.zeros(1))):
        with pytest.raises(RuntimeError, match="differ"):
            grid.require_equal(one, other)


def test_a_newer_run_replaces_an_older_one() -> None:
    older, newer = (
        records.Run("a machine, 2 threads", "c", day, "python", (records.Figure("export", "van_b0", "a", "ONNX", ratio=value),))
        for day, value in (("2026-01-01", 4.0), ("2026-01-02", 9.0))
    )
    assert pages.newest([newer, older], ("export",), "ratio") == {("van_b0", "ONNX"): 9.0}
    assert pages.mean([newer, older], "export", "ONNX") == "9.00 (least 9.00)"


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    rows = (
        records.Figure("inference", "van_b0", "64 x 64", "mmvit", ms=1.5),
        records.Figure("export", "van_b0", "a", "ONNX", ratio=2.0),
    )
    records.write(rows, tmp_path / "run.json")
    (run,) = records.read(tmp_path)
    assert run.rows == rows
    assert run.commit == records.commit()


def test_the_processor_is_named_with_its_instruction_sets() -> None:
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        pytest.skip("no /proc/cpuinfo")
    flags = set(re.findall(r"\w+", info.read_text()))
    named = systems.processor().rpartition(" (")[2].rstrip(")").split()
    assert named == [name for name in systems.INSTRUCTIONS if name in flags] != []
    assert systems.processor() in records.machine()


def test_sides_of_whole_loops_are_figures_of_an_iteration() -> None:
    from argparse import Namespace

    ours, theirs = (whole.Side(blocks=[{"a": seconds}] * 3, memory=2**21) for seconds in (2.0, 5.0))
    asked = Namespace(archs=["retinanet_pvt_tiny_coco"], size=[(64, 96)], toolkit="mmdet", block=2)
    first, second = whole.figures({"train": {whole.OURS: ours, whole.STOCK: theirs}}, asked)
    assert (first.ms, first.ratio, first.memory_mib) == (1000.0, None, 2)
    assert (second.candidate, second.ms, second.ratio) == ("mmdet", 2500.0, 2.5)


def test_bars_are_as_long_as_their_values() -> None:
    drawn = charts.bars({"a": {"x": 1.0}, "b": {"x": 2.0, "y & z": 4.0}}, "unit", line=1.0)
    lengths = [float(found) for found in re.findall(r'<rect x="\d+" y="\d+" width="([\d.]+)" height="13"', drawn)]
    assert lengths[2] == 2 * lengths[1] == 4 * lengths[0]
    assert "y &amp; z" in drawn
    assert measure.geometric_mean([2.0, 8.0]) == pytest.approx(4.0)


@pytest.mark.slow
def test_a_commit_is_compared_with_this_checkout(capsys: pytest.CaptureFixture[str]) -> None:
    """Both sides are this commit: their maps are equal, and the other one is measured in a folder of its own."""
    if not (HOME / ".git").exists():
        pytest.skip("no repository")
    assert compare.main(["HEAD", "pvt_v2_b0", "--size", "32x32", "--repeats", "1"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "pvt_v2_b0" in line]
    assert row.endswith("equal |")
    assert compare.main(["no_such_commit", "pvt_v2_b0"]) == 2
    assert "error: bench-compare no_such_commit: " in capsys.readouterr().err
