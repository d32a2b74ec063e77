"""The tables of configs, the generator, and the promise that the committed leaves are what it writes."""

from pathlib import Path

import pytest
from families import FAMILIES as TINY
from makers import HOME, run_python
from small_datasets import refusal

from mmvit.commands.config import main
from mmvit.config.files import load_config
from mmvit.errors import InputError
from mmvit.recipes.configs import committed, make, parse, text
from mmvit.recipes.families import DROP_PATHS, RECIPES
from mmvit.recipes.published_results import PUBLISHED
from mmvit.recipes.tables import DATASETS, PAIRINGS, Leaf
from mmvit.zoo import families

FOLDER = HOME / "configs"
KINDS = {kind.record.name: kind for kind in families()}
EVERY = [Leaf(head, name, arch, data) for head, data in PAIRINGS for name, kind in KINDS.items() for arch in kind.record.archs]


def test_every_published_pairing_and_every_familys_small_arch_are_committed() -> None:
    names = {leaf.name for leaf in committed()}
    assert {leaf.name for row in PUBLISHED for leaf in row.leaves()} <= names
    for kind in KINDS.values():
        for head, data in PAIRINGS:
            name = f"{head}_{kind.record.name}_{kind.record.small}_{data}"
            assert (name in names) == (data != "binary" or kind.record.name == "pvt_v2")


def test_tables_name_what_there_is() -> None:
    """A misspelt row would silently never hold."""
    assert set(DROP_PATHS) == set(KINDS) == {family.kind.record.name for family in TINY}
    rows = [
        ((head, dataset), family, recipe.archs)
        for (family, dataset), recipes in RECIPES.items()
        for recipe in recipes
        for head in recipe.heads
    ]
    rows += [((row.head, row.dataset), row.family, tuple(row.figures)) for row in PUBLISHED]
    rows += [(pairing, name, (kind.record.small,)) for pairing in PAIRINGS for name, kind in KINDS.items()]
    for pairing, family, archs in rows:
        assert pairing in PAIRINGS
        assert set(archs) <= set(KINDS[family].record.archs)
    assert {data for _, data in PAIRINGS} == set(DATASETS)
    for family, kind in KINDS.items():
        for arch in kind.record.archs:
            assert 0 <= DROP_PATHS[family].of(arch) < 1
    for (family, dataset), recipes in RECIPES.items():
        leaves = [leaf for leaf in EVERY if (leaf.family, leaf.dataset) == (family, dataset)]
        for index, recipe in enumerate(recipes):
            covered = [leaf for leaf in leaves if recipe.covers(leaf)]
            assert any(not any(earlier.covers(leaf) for earlier in recipes[:index]) for leaf in covered), recipe


def test_every_valid_name_parses_to_its_parts() -> None:
    for leaf in EVERY:
        assert parse(leaf.name) == parse(f"{leaf.name}.py") == leaf


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "upernett_van_b3_cityscapes",
            "'upernett' is no head; there are retinanet, mask_rcnn, upernet, segformer, fpn, atss, ",
        ),
        ("mask-rcnn_van_b3_coco", "did you mean mask_rcnn? Expected HEAD_"),
        ("upernet_vann_b3_cityscapes", "did you mean van? Expected HEAD_"),
        ("upernet_van_b9_cityscapes", "'b9' is no arch of van; there are b"),
        ("upernet_pvt_v2_b9_ade20k", "'b9' is no arch of pvt_v2; there are b"),
        ("upernet_pvt_ade20k", "'' is no arch of pvt; there are "),
        (
            "upernet_van_b3_cityscape",
            "'cityscape' is no dataset of upernet; there are ade20k, cityscapes, binary; did you mean cityscapes?",
        ),
        ("upernet_van_b3_coco", "'coco' is no dataset of upernet; there are "),
        ("retinanet_van_b3_ade20k", "'ade20k' is no dataset of retinanet; there are coco"),
        ("", "'' is no head; there are "),
    ],
)
def test_a_wrong_part_is_answered_with_the_valid_ones(name: str, said: str) -> None:
    assert said in refusal(parse, name)


def test_a_valid_combination_is_written_once(tmp_path: Path) -> None:
    wanted, folder = [parse("upernet_t2t_vit_14_se_cityscapes"), parse("mask_rcnn_van_b5_coco.py")], tmp_path / "own"
    first, second = make(wanted, folder)
    cfg = load_config(first)  # its bases are the package's: there is no _base_ here
    assert (cfg.model.backbone.arch, cfg.model.decode_head.num_classes, cfg.model.backbone.init_cfg) == ("14_se", 19, None)
    assert "released none" in first.read_text(encoding="utf-8")
    cfg = load_config(second)
    assert cfg.model.backbone.init_cfg.checkpoint == "checkpoints/van_b5.pth"
    assert str(KINDS["van"].record.released["b5"].folder) in second.read_text(encoding="utf-8")
    make(wanted, folder)  # the same again is no harm
    first.write_text("mine = True\n")
    second.unlink()
    with pytest.raises(InputError, match=rf"{first.name}: the file exists with other content; nothing was written"):
        make(wanted, folder)
    assert first.read_text(encoding="utf-8") == "mine = True\n"
    assert not second.exists()
    make(wanted, folder, force=True)
    assert first.read_text(encoding="utf-8") == text(parse(first.stem), "mmvit::_base_")


def test_all_are_the_committed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """What the generator writes, with the hint how to write them anew: python tools/make_config.py --all --force."""
    (tmp_path / "_base_").mkdir()
    assert main(["--all", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / f"{leaf.name}.py") for leaf in committed()]
    written = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.py")}
    assert written == {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py")}


def test_generated_code_is_formatted(tmp_path: Path) -> None:
    (tmp_path / "_base_").mkdir()
    make(EVERY[::7], tmp_path)  # all heads, datasets and families
    for command in ("format --check", "check"):
        run_python("-m", "ruff", *command.split(), "--config", HOME / "pyproject.toml", tmp_path)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fpn_van_b4_cityscapes"]) == 0
    assert capsys.readouterr().out == "configs/fpn_van_b4_cityscapes.py\n"
    assert (tmp_path / "configs/fpn_van_b4_cityscapes.py").is_file()
    assert main(["fpn_van_b7_cityscapes"]) == 2
    assert capsys.readouterr().err.startswith("error: fpn_van_b7_cityscapes: 'b7' is no arch of van; there are b")
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "no config named" in capsys.readouterr().err


@pytest.mark.parametrize("head", ["fpn", "segformer", "upernet"])
def test_binary_segmentation_is_that_of_its_school(head: str) -> None:
    """Numbers by hand from Polyp-PVT's code, and the structure loss on one logit in every head."""
    cfg = load_config(FOLDER / f"{head}_pvt_v2_b2_binary.py")
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ("AdamW", 1e-4, 1e-4)
    assert cfg.optim_wrapper.clip_grad == dict(type="value", clip_value=0.5)
    assert (cfg.train_dataloader.batch_size, cfg.crop_size) == (16, (352, 352))
    assert [step.scales for step in cfg.train_pipeline if step.type == "RandomChoiceResize"] == [
        [(side, side) for side in (256, 352, 448)]
    ]
    assert cfg.val_evaluator == cfg.test_evaluator == dict(type="mmvit.BinaryMetric")
    heads = [cfg.model[name] for name in ("decode_head", "auxiliary_head") if name in cfg.model]
    for part, weight in zip(heads, (1.0, 0.4), strict=False):
        assert (part.out_channels, part.threshold) == (1, 0.5)
        assert (part.loss_decode.type, part.loss_decode.get("loss_weight", 1.0)) == ("mmvit.StructureLoss", weight)
        assert "use_sigmoid" not in part.loss_decode
