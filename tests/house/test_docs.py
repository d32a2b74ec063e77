"""What the documentation shows is tried: code compiles, configs build, commands name what there is, links lead somewhere.

The file is long, because all tests read the same blocks of all pages.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from makers import HOME
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import nn

import mmvit
from mmvit import registry
from mmvit.__main__ import COMMANDS
from mmvit.checks.config import check_channels, without_init
from mmvit.config.files import config_file
from mmvit.pyramid import FAMILIES, Pyramid
from mmvit.recipes.configs import parse
from mmvit.weights.addresses import released_url
from mmvit.zoo import list_archs

pytestmark = pytest.mark.stack

README = HOME / "README.md"
PAGES = [*sorted(HOME.glob("*.md")), *sorted((HOME / "docs").glob("*.md")), *sorted((HOME / ".github").rglob("*.md"))]
OURS = ("configs/", "tools/", "tests/", "docs/", "mmvit/", "benchmarks/")  # what a command calls a file of the repository
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
QUOTED = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def file(self) -> str | None:
        """Name of the config that a block is: that of its first comment."""
        found = re.match(r"# (\w+\.py)\b", self.text)
        return found and found.group(1)


def blocks(page: Path) -> Iterator[Block]:
    content = page.read_text()
    for found in FENCE.finditer(content):
        yield Block(page, content.count("\n", 0, found.start()) + 2, found.group(1), found.group(2))


BLOCKS = [block for page in PAGES for block in blocks(page)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
CONFIGS = [block for block in PYTHON if re.search(r"^_base_ =", block.text, re.MULTILINE)]
SHELL = [block for block in BLOCKS if block.language in ("", "sh")]


def test_every_block_is_of_a_known_kind() -> None:
    assert {block.language for block in BLOCKS} == {"", "sh", "python"}
    for page in PAGES:
        assert page.read_text().count("```") == 2 * len(list(blocks(page)))


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_code_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")


def test_configs_have_a_name_of_their_own_on_their_page() -> None:
    names = [(block.page, block.file) for block in CONFIGS]
    assert len(CONFIGS) > 10
    assert all(name for _, name in names)
    assert len(names) == len(set(names))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Path]:
    """The configs of each page in a folder, because they may be bases of each other."""
    made = {page: tmp_path_factory.mktemp(page.stem) for page in PAGES}
    for block in CONFIGS:
        (made[block.page] / str(block.file)).write_text(block.text)
    return made


@pytest.mark.parametrize("block", CONFIGS, ids=lambda block: block.file)
def test_configs_build(block: Block, folders: dict[Path, Path]) -> None:
    """The model on the meta device, channels that fit, a preprocessor for its images, an optimiser; named files are known."""
    cfg = Config.fromfile(folders[block.page] / str(block.file))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = meta_model(cfg)
        assert [str(found) for found in check_channels(cfg) if not found.ok] == []
        groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    assert isinstance(model.backbone, Pyramid)
    normalise = [step for step in cfg.train_dataloader.dataset.pipeline if step["type"] == "Normalize"]
    mean = normalise[0]["mean"] if normalise else model.data_preprocessor.mean.flatten()
    assert len(mean) == model.backbone.in_channels
    assert sum(len(group["params"]) for group in groups) >= sum(value.requires_grad for value in model.parameters())
    source = cfg.model.backbone.init_cfg.checkpoint
    if source.startswith("mmvit://"):
        assert released_url(source)
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


def commands(block: Block) -> Iterator[list[str]]:
    """The words of each command, comments and line breaks taken out."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if words := shlex.split(line.replace("(", " ").replace(")", " "), comments=True):
            yield words


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_commands_are_shell(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_commands_name_what_there_is(block: Block) -> None:
    made = {str(config.file) for config in CONFIGS if config.page == block.page}
    for words in commands(block):
        for word in words:
            name = word.rpartition("=")[2]
            if name.startswith(OURS) and "CONFIG" not in name:
                assert (HOME / name).exists(), f"{block}: {name}"
        if "-m" in words and words[words.index("-m") + 1] == "mmvit":
            command, *rest = words[words.index("-m") + 2 :]
            assert command in COMMANDS, f"{block}: {command}"
            if command == "list":
                assert all(list_archs(pattern) for pattern in rest)
            for name in rest:
                if command != "list" and not name.startswith("--") and name not in made:
                    assert config_file(name).is_file(), f"{block}: {name}"
        elif "-m" in words and words[words.index("-m") + 1].startswith("mmvit."):
            assert find_spec(words[words.index("-m") + 1]), f"{block}: {words}"
        if "tools/make_config.py" in words:
            rest = words[words.index("tools/make_config.py") + 1 :]
            for name in rest[: rest.index("--out") if "--out" in rest else None]:
                assert name.startswith("--") or parse(name)


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
    for name in QUOTED.findall(FENCE.sub("", page.read_text())):
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
    for family in FAMILIES.values():
        link = f"[{family.paper}](https://arxiv.org/abs/{family.paper})"
        assert f"\n| `mmvit.{family.__name__}` | {' '.join(family.archs)} | {link} |\n" in README.read_text()


def test_the_readme_leads_to_every_page() -> None:
    linked = {target.partition("#")[0] for target in LINK.findall(README.read_text())}
    assert {str(page.relative_to(HOME)) for page in (HOME / "docs").glob("*.md")} <= linked


def test_the_readme_counts_right() -> None:
    assert f"\n{len(list_archs())} archs" in README.read_text()
    assert f"\n{len(list((HOME / 'configs').glob('*.py')))} configs" in README.read_text()
    assert len(README.read_text().splitlines()) <= 130


PAGE = HOME / "docs" / "own_project.md"
DETECTOR = """
_base_ = "my_retinanet.py"
model = dict(backbone=dict(arch="b0", init_cfg=None), neck=dict(in_channels=[32, 64, 160, 256]))
load = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True)]
data = dict(
    data_root="data/demo/coco/",
    metainfo=dict(classes=tuple("0123456789")),
    pipeline=[load[0], dict(type="Resize", scale=(96, 96)), load[1], dict(type="PackDetInputs")],
)
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=data)
val_dataloader = test_dataloader = dict(num_workers=0, persistent_workers=False, dataset=data)
val_evaluator = test_evaluator = dict(ann_file="data/demo/coco/annotations/instances_val2017.json")
train_cfg = dict(max_epochs=1)
param_scheduler = []
"""
SEGMENTER = """
_base_ = "my_upernet.py"
model = dict(
    data_preprocessor=dict(size=(96, 96)),
    backbone=dict(arch="b0", init_cfg=None),
    decode_head=dict(in_channels=[32, 64, 160, 256], channels=16),
    auxiliary_head=dict(in_channels=160),
)
root = "data/demo/ade/ADEChallengeData2016"
steps = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", reduce_zero_label=True),
    dict(type="Resize", scale=(96, 96)),
    dict(type="PackSegInputs"),
]
loader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root=root, pipeline=steps))
train_dataloader = dict(batch_size=2, **loader)
val_dataloader = test_dataloader = loader
train_cfg = dict(max_iters=1, val_interval=1)
param_scheduler = []
"""


def run(*words: str, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(HOME)}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def project(folders: dict[Path, Path]) -> Path:
    """A folder with the page's configs, mmdet's and mmseg's scripts as the page makes them, and two images a split."""
    pytest.importorskip("sklearn")
    pytest.importorskip("skimage")
    from mmvit.demo.dataset import DemoSpec, build

    folder = folders[PAGE]
    build(folder / "data" / "demo", DemoSpec(train_images=2, val_images=2))
    (recipe,) = [block.text for block in SHELL if block.page == PAGE and ".mim" in block.text]
    run("bash", "-ec", recipe, folder=folder)
    return folder


@pytest.mark.parametrize(
    ("script", "config", "checkpoint"),
    [
        ("train_detector.py", DETECTOR, "work_dirs/my_retinanet/epoch_1.pth"),
        ("train_segmenter.py", SEGMENTER, "work_dirs/my_upernet/iter_1.pth"),
    ],
    ids=["mmdet", "mmseg"],
)
def test_stock_scripts_train(script: str, config: str, checkpoint: str, project: Path) -> None:
    """On the page's configs with a smaller arch: they train, validate and save."""
    (project / "tried.py").write_text(config)
    run(sys.executable, script, "tried.py", folder=project)
    assert (project / checkpoint).is_file()
