"""Every snippet of docs/other_toolkits.md and docs/transformers.md runs, without released weights, and prints what it says."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from makers import HOME
from test_detectron2 import interface

from mmvit.demo.dataset import DemoSpec, build
from mmvit.zoo import create

pytestmark = pytest.mark.stack

PAGE = (HOME / "docs" / "other_toolkits.md").read_text()
SNIPPETS = dict(re.findall(r"^## (.+?)\n(?:(?!^## ).*\n)*?```python\n((?:.*\n)*?)```$", PAGE, re.MULTILINE))
OWN_WEIGHTS = re.findall(r"^```python\n((?:.*\n)*?)```$", PAGE, re.MULTILINE)[1]


@pytest.fixture
def detectron2(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    interface(monkeypatch)
    yield
    sys.modules.pop("mmvit.detectron2", None)


def offline(snippet: str) -> str:
    snippet = re.sub(r'checkpoint="mmvit://\w+"', "checkpoint=None", snippet)
    return snippet.replace("pretrained=True", "pretrained=False").replace("encoder_weights=True", "encoder_weights=None")


def printed(snippet: str) -> list[str]:
    return re.findall(r"^print\(.+\)  # (.+)$", snippet, re.MULTILINE)


@pytest.mark.parametrize("heading", SNIPPETS)
def test_snippets_run(heading: str, detectron2: None, capsys: pytest.CaptureFixture) -> None:
    snippet = SNIPPETS[heading]
    for package in ("segmentation_models_pytorch", "transformers", "monai"):
        if package in snippet:
            pytest.importorskip(package)
    exec(offline(snippet), {})
    expected = printed(snippet)
    assert capsys.readouterr().out.splitlines()[: len(expected)] == expected


def test_own_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trained = create("van_b0").state_dict()
    torch.save(trained, "van_b0.pth")
    names: dict = {}
    exec(OWN_WEIGHTS, names)
    assert all(torch.equal(value, trained[name]) for name, value in names["encoder"].model.state_dict().items())


def test_the_page_has_all_snippets() -> None:
    assert len(SNIPPETS) == 7
    assert PAGE.count("```python") == len(SNIPPETS) + 1
    assert 'dict(file="van_b0.pth")' in OWN_WEIGHTS


def test_transformers_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """Its whole example trains through transformers' Trainer on a small demo dataset, and what it saved is read again."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    monkeypatch.chdir(tmp_path)
    first, whole = re.findall(r"^```python\n((?:.*\n)*?)```$", (HOME / "docs" / "transformers.md").read_text(), re.MULTILINE)
    exec(offline(first), {})
    assert capsys.readouterr().out.splitlines() == printed(first)
    build(tmp_path / "data" / "demo", DemoSpec(train_images=4, val_images=1))
    small = offline(whole).replace("max_steps=200", "max_steps=2, use_cpu=True")
    names = {"DemoSpec": DemoSpec}
    exec(small.replace('build("data/demo")', 'build("data/demo", DemoSpec(train_images=4, val_images=1))'), names)
    again = transformers.DFineForObjectDetection.from_pretrained(tmp_path / "work_dirs/d_fine_van_b0/last")
    trained = names["model"].state_dict()
    assert [key for key, value in again.state_dict().items() if not torch.equal(value, trained[key].cpu())] == []
    assert again.config.id2label[9] == "9"
