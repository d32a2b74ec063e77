"""The notebooks of docs/notebooks run from the first cell to the last: few iterations, in a folder of their own."""

import json
import os
from pathlib import Path

import pytest
from makers import HOME

pytestmark = [pytest.mark.stack, pytest.mark.once]

NOTEBOOKS = sorted((HOME / "docs" / "notebooks").glob("*.ipynb"))
SHORT = {
    "train_cfg.max_iters": 4,
    "train_cfg.val_interval": 4,
    "default_hooks.checkpoint.interval": 4,
    "val_dataloader.dataset.indices": 8,
    "test_dataloader.dataset.indices": 8,
}
MOST_BYTES = 1_000_000  # of a notebook with its outputs
EXPECTED = {
    "detection": ("16 (1, 160, 6, 6)", "(4 iterations", "0.png [", "analysis.html"),
    "segmentation": ("(4 iterations", "'mIoU': ", "0.png (96, 96) {'", "look"),
}


def test_there_is_one_for_each_task() -> None:
    assert [notebook.stem for notebook in NOTEBOOKS] == sorted(EXPECTED)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_outputs_are_small(notebook: Path) -> None:
    assert notebook.stat().st_size < MOST_BYTES
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    assert not any(output["output_type"] == "error" for cell in cells for output in cell.get("outputs", ()))


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_every_cell_runs(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HOME), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))  # no kernel of another environment
    book = nbformat.read(notebook, as_version=4)
    settings = next(cell for cell in book.cells if "OPTIONS = {}" in cell.source)
    settings.source = settings.source.replace("OPTIONS = {}", f"OPTIONS = {SHORT}")
    nbclient.NotebookClient(book, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    told = "".join(
        str(output.get("text") or output.get("data", {}).get("text/plain", ""))
        for cell in book.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    for words in EXPECTED[notebook.stem]:
        assert words in told, told[-2000:]
    pictures = [output for cell in book.cells for output in cell.get("outputs", ()) if "image/png" in output.get("data", {})]
    assert len(pictures) == (1 if notebook.stem == "detection" else 2)
