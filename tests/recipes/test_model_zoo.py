"""The page of results is what the tables say, and the tables say where each number stands."""

import re

import pytest
from makers import HOME

from mmvit.recipes.configs import committed, parse, recipe_of
from mmvit.recipes.published_results import PUBLISHED, Published
from mmvit.recipes.results import REMARKS, main, row_of
from mmvit.recipes.tables import DATASETS, HEADS, PAIRINGS
from mmvit.weights.published import WHOLE_MODELS

FILE = HOME / "docs" / "model_zoo.md"
FIGURE = re.compile(r"\d\d\.\d\d?")


def test_page_is_what_the_tables_give(capsys: pytest.CaptureFixture) -> None:
    assert main() == 0
    assert FILE.read_text() == capsys.readouterr().out, f"python -m mmvit.recipes.results > {FILE} writes it anew"


def test_every_committed_config_has_one_row() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\(\.\./configs/(\w+)\.py\)", FILE.read_text(), re.MULTILINE)
    assert all(name == file for name, file in rows)
    assert sorted(name for name, _ in rows) == sorted(leaf.name for leaf in committed())


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row.head}-{row.family}-{row.source.name}-{row.under}")
def test_published_numbers_are_figures_of_the_heads_metrics_and_have_a_source(row: Published) -> None:
    assert row.figures
    for figures in row.figures.values():
        parts = figures.split(" / ")
        assert len(parts) == len(HEADS[row.head].metrics)
        assert all(FIGURE.fullmatch(part) for part in parts)
    assert row.source.url.startswith("https://")
    text = FILE.read_text()
    assert f"[{row.source.name}]: {row.source.url}\n" in text
    for leaf in row.leaves():
        (line,) = re.findall(rf"^\| \[{leaf.name}\].*$", text, re.MULTILINE)
        assert f"{row.figures[leaf.arch]} ([{row.source.name}]" in line


def test_no_source_says_two_things_of_the_same() -> None:
    said = [(leaf, row.source, row.test, row.under) for row in PUBLISHED for leaf in row.leaves()]
    assert len(said) == len(set(said))


def test_cells() -> None:
    assert row_of(parse("fpn_pvt_tiny_ade20k")) == (
        "| [fpn_pvt_tiny_ade20k](../configs/fpn_pvt_tiny_ade20k.py) "
        "| 35.7 ([PVT paper], 1e-4, 80,000 iterations, batch 16); 36.6 ([PVT repository]) | | 8 x 4 | published |"
    )
    assert row_of(parse("segformer_van_b2_cityscapes")).endswith(".py) | | | 8 x 1 | ours |"), "nothing was published"
    row = row_of(parse("upernet_van_b4_ade20k"))
    assert "| 52.2 ([VAN-Segmentation], multi-scale); 51.56 ([mmsegmentation, projects/van], single scale) | [" in row
    assert "653bd6b7.pth) 51.56 (mmsegmentation, projects/van); [`upernet_van_b4_22k_ade20k`](https://" in row
    assert row.endswith("4a4d744a.pth) 52.61 (mmsegmentation, projects/van) | 8 x 4 | published |")


def test_whole_models_have_a_config_and_a_place() -> None:
    leaves = {leaf.name for leaf in committed()}
    text = FILE.read_text()
    for name, row in WHOLE_MODELS.items():
        assert row.config in leaves
        assert FIGURE.fullmatch(row.figure)
        assert f"[`{name}`]({row.url}) {row.figure} ({row.source})" in text


def test_tables_of_words_are_complete() -> None:
    titles = [row.title for row in (*HEADS.values(), *DATASETS.values())]
    assert len(set(titles)) == len(titles)
    assert set(REMARKS) <= set(PAIRINGS)


def test_recipes_of_ours_are_called_so() -> None:
    for leaf in committed():
        recipe = recipe_of(leaf)
        assert recipe.published == recipe.note.startswith("Recipe: ")
        assert recipe.published or "ours: " in recipe.note
