"""The notebooks of docs/notebooks run from the first cell to the last: few iterations, in a folder of their own."""

import json
import os
import re
from pathlib import Path

import pytest
from makers import HOME

from mmvit.demo import build

pytestmark = [pytest.mark.stack, pytest.mark.once]

NOTEBOOKS = sorted((HOME / "docs" / "notebooks").glob("*.ipynb"))
SHORT = {"train_dataloader.dataset.indices": 16, "val_dataloader.dataset.indices": 8, "test_dataloader.dataset.indices": 8}
MOST_BYTES = 400_000  # of a notebook with its outputs
ELSEWHERE = re.compile(r"(/home/|/root/|/tmp/|/Users/|site-packages|[A-Z]:\\\\Users|\w*Warning\b)")  # of one machine alone
EXPECTED = {
    "detection": ("16 (1, 160, 6, 6)", "last: iteration ", "'coco/bbox_mAP': ", "0.png ", "analysis.html"),
    "segmentation": ("last: iteration ", "'mIoU': ", "0.png (96, 96) {'", "look"),
}


def test_there_is_one_for_each_task() -> None:
    assert [notebook.stem for notebook in NOTEBOOKS] == sorted(EXPECTED)


def require_outputs(cells: list[dict], name: str) -> None:
    """Fail unless every cell was run, with its pictures and figures, and without a path or a warning of the machine."""
    codes = [cell for cell in cells if cell["cell_type"] == "code"]
    outputs = [output for cell in codes for output in cell["outputs"]]
    assert [cell["execution_count"] for cell in codes] == list(range(1, len(codes) + 1))
    told = "".join("".join(output.get("text") or output.get("data", {}).get("text/plain", "")) for output in outputs)
    assert [words for words in EXPECTED[name] if words not in told] == [], told[-2000:]
    assert {output["output_type"] for output in outputs} <= {"stream", "execute_result"}
    assert {output["name"] for output in outputs if "name" in output} == {"stdout"}
    assert ELSEWHERE.findall(told) == []
    assert sum("image/png" in output.get("data", {}) for output in outputs) == (1 if name == "detection" else 2)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_outputs_are_stored_and_small(notebook: Path) -> None:
    assert notebook.stat().st_size < MOST_BYTES
    require_outputs(json.loads(notebook.read_text(encoding="utf-8"))["cells"], notebook.stem)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("images") / "demo")


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_every_cell_runs(notebook: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HOME), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))  # no kernel of another environment
    book = nbformat.read(notebook, as_version=4)
    monkeypatch.setenv("PYTHONWARNINGS", "ignore:IProgress")  # of tqdm, where ipywidgets is not installed
    settings = next(cell for cell in book.cells if "EPOCHS = 2" in cell.source)
    settings.source = settings.source.replace("EPOCHS = 2", "EPOCHS = 1")
    for start in ("mmvit.train(", "mmvit.evaluate("):
        cell = next(cell for cell in book.cells if start in cell.source)
        cell.source = cell.source.replace("variant=DEMO", f"variant=DEMO, cfg_options={SHORT}")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "demo").symlink_to(images)
    nbclient.NotebookClient(book, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    require_outputs(book.cells, notebook.stem)
