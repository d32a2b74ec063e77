"""What the documentation shows is tried: code compiles, configs build, names exist, links lead somewhere."""

import inspect
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from house.pages import BLOCKS, CONFIGS, FENCE, OURS, PAGES, PYTHON, QUOTED, README, SHELL, Block, blocks, commands, quoted
from makers import HOME
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import nn

import mmvit
from benchmarks import candidates, measure, pages, records
from mmvit import registry
from mmvit.checks.channels import check_channels
from mmvit.checks.plan import Plan
from mmvit.config.parts import without_init
from mmvit.pyramid import Pyramid
from mmvit.recipes.published_results import PUBLISHED
from mmvit.version import REPOSITORY
from mmvit.weights.addresses import addresses
from mmvit.zoo import families, list_archs

LINK = re.compile(r"\]\(([^)\s]+)\)")


def test_every_block_is_of_a_known_kind() -> None:
    assert {block.language for block in BLOCKS} == {"", "sh", "python", "text"}, "text is output"
    for page in PAGES:
        assert page.read_text().count("```") == 2 * len(list(blocks(page)))


def test_code_compiles() -> None:
    for block in PYTHON:
        compile(block.text, str(block), "exec")


def test_configs_have_a_name_of_their_own_on_their_page() -> None:
    names = [(block.page, block.file) for block in CONFIGS]
    assert len(CONFIGS) > 10
    assert all(name for _, name in names)
    assert len(names) == len(set(names))


@pytest.mark.stack
@pytest.mark.parametrize("block", CONFIGS, ids=lambda block: block.file)
def test_configs_build(block: Block, folders: dict[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The model on the meta device, channels that fit, a preprocessor for its images, an optimiser; named files are known."""
    monkeypatch.syspath_prepend(folders[block.page])
    cfg = Config.fromfile(folders[block.page] / str(block.file))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = meta_model(cfg)
        assert [str(found) for found in check_channels(Plan(cfg, ()))] == []
        groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    assert isinstance(model.backbone, Pyramid)
    normalise = [step for step in cfg.train_dataloader.dataset.pipeline if step["type"] == "Normalize"]
    mean = normalise[0]["mean"] if normalise else model.data_preprocessor.mean.flatten()
    assert len(mean) == model.backbone.in_channels
    assert sum(len(group["params"]) for group in groups) >= sum(value.requires_grad for value in model.parameters())
    source = cfg.model.backbone.init_cfg.checkpoint
    if source.startswith("mmvit://"):
        assert addresses(source)
    for split in ("train", "val", "test"):
        dataset = cfg[f"{split}_dataloader"].dataset
        if classes := dataset.get("metainfo", {}).get("classes"):
            assert f"num_classes': {len(classes)}" in str(cfg.model.to_dict())
        assert "LoadImage" in dataset.pipeline[0].type
    if "_base_.train_pipeline" in block.text or "train_pipeline =" in block.text:
        assert cfg.train_dataloader.dataset.pipeline == cfg.train_pipeline


def meta_model(cfg: Config) -> nn.Module:
    with torch.device("meta"):
        return MODELS.build(without_init(cfg.model))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    """Files that are there, and headings in them."""
    for target in LINK.findall(page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        name, _, heading = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), f"{page.name}: {target}"
        assert not heading or heading in headings(file), f"{page.name}: {target}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_names_in_the_text_exist(page: Path) -> None:
    """Files of the repository, and what a config or `import mmvit` knows by name."""
    for name in quoted(page):
        if name.startswith(OURS) and "HEAD_" not in name and re.fullmatch(r"[\w/.]+", name):
            assert (HOME / name).exists(), f"{page.name}: {name}"
        elif found := re.fullmatch(r"mmvit\.([A-Za-z]\w*)", name):
            assert is_known(found.group(1)), f"{page.name}: {name}"


def is_known(name: str) -> bool:
    registered = (getattr(registry, kind).get(f"mmvit.{name}") for kind in dir(registry) if kind.isupper() and kind != "SCOPE")
    return hasattr(mmvit, name) or find_spec(f"mmvit.{name}") is not None or any(registered)


def headings(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    text = FENCE.sub("", page.read_text())
    found = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_reference_links_are_defined(page: Path) -> None:
    content = QUOTED.sub("", FENCE.sub("", page.read_text()))
    defined = set(re.findall(r"^\[([^\]]+)\]: \S+$", content, re.MULTILINE))
    used = set(re.findall(r"\(\[([^\]]+)\](?!\()", content))
    assert used == defined


def test_the_readme_prints_what_it_says(capsys: pytest.CaptureFixture) -> None:
    """Its first example, with random weights instead of the authors' file."""
    example = next(block.text for block in PYTHON if block.page == README)
    assert 'checkpoint="mmvit://van_b0"' in example
    exec(example.replace("mmvit://van_b0", "").replace('checkpoint=""', "checkpoint=None"), {})
    assert [f"# {line}" for line in capsys.readouterr().out.splitlines()] == re.findall(r"^# .+$", example, re.MULTILINE)


def test_the_readme_has_all_families() -> None:
    """With parameters counted, AP and mIoU as the table of published results has them, and milliseconds as stored."""
    milliseconds = pages.newest(records.read(), ("inference",), "ms", pixels="512 x 512", dtype="float32", candidate="mmvit")
    for family in families():
        arch = f"{family.record.name}_{family.record.small}"
        cells = [
            f"`mmvit.{family.__name__}`",
            f"[{family.record.paper}](https://arxiv.org/abs/{family.record.paper})",
            f"`{arch}`",
            f"{measure.cost_of(candidates.Setting(arch, 224, 224)).parameters / 1e6:.1f}",
            published(family, "retinanet", "coco"),
            published(family, "fpn", "ade20k") or published(family, "upernet", "ade20k"),
            f"{milliseconds[arch, 'mmvit']:.0f}",
        ]
        assert f"\n|{'|'.join(f' {cell} ' if cell else ' ' for cell in cells)}|\n" in README.read_text()


def published(family: type[Pyramid], head: str, dataset: str) -> str:
    """Return the last published figure of the family's small arch under the recipe that its config has, or nothing."""
    rows = [
        row for row in PUBLISHED if (row.head, row.family, row.dataset) == (head, family.record.name, dataset) and not row.under
    ]
    return next((row.figures[family.record.small] for row in reversed(rows) if family.record.small in row.figures), "")


def test_the_readme_tells_the_speed_that_was_measured() -> None:
    """The least and the largest ratio of whole loops to mmdet's, on any machine."""
    for what in ("training", "evaluation"):
        found = [row.ratio for run in records.read() for row in run.rows if row.what == what and row.ratio]
        assert f"{min(found):.2f} to {max(found):.2f} times" in " ".join(README.read_text().split()), what


def test_what_pages_tell_to_install_can_be_installed() -> None:
    """From the clone, until the package is published."""
    for block in SHELL:
        for words in commands(block.text):
            if words[:2] == ["pip", "install"] and not REPOSITORY:
                assert not [word for word in words if word.startswith("mmvit")], f"{block}: the package is on no index"


def test_no_file_names_the_host_of_a_package_index() -> None:
    """The package is on none, and where others install from is their choice."""
    hosts = [".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("download", "pytorch", "org"))]
    named = ["git", "grep", "-lIiE", "|".join(hosts), "--", ".", ":!tests/weights", ":!*package-lock.json"]
    if (HOME / ".git").exists():
        assert subprocess.run(named, cwd=HOME, capture_output=True, text=True, check=False).stdout == ""


def options_of_all() -> set[str]:
    """What every backbone takes: the arguments of `Pyramid` but the channels and strides, which the arch has."""
    return set(inspect.signature(Pyramid.__init__).parameters) - {"self", "channels", "strides"}


@pytest.mark.parametrize("family", families(), ids=lambda family: family.__name__)
def test_docstrings_of_families_have_every_option(family: type[Pyramid]) -> None:
    (words,) = re.findall(r"^\s+options: ([\w, ]+): see `Pyramid`", family.__doc__ or "", re.MULTILINE)
    assert set(words.split(", ")) == options_of_all()


def test_the_table_of_options_has_every_option() -> None:
    table = (HOME / "docs" / "own_project.md").read_text().partition("## Options of every backbone")[2].partition("##")[0]
    named = {name for cell in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)}
    assert options_of_all() <= named


def test_the_readme_leads_to_every_page() -> None:
    linked = {target.partition("#")[0] for target in LINK.findall(README.read_text())}
    assert {str(page.relative_to(HOME)) for page in (HOME / "docs").glob("*.md")} <= linked


def test_the_readme_counts_right() -> None:
    text = " ".join(README.read_text().split())
    assert f" {len(list_archs())} architectures, " in text
    assert f"[{len(list_archs())} archs](docs/archs.md)" in text
    assert f" {len(list((HOME / 'configs').glob('*.py')))} configs" in text
    assert len(README.read_text().splitlines()) <= 125
