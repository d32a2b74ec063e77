"""Configs that cannot train: each is refused before anything is built, with one message that has the key and what to write."""

import copy
import inspect
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from families import Family
from makers import HOME, each_family
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope

from mmvit.backbones import PVT, VOLO, T2TViT
from mmvit.checks.dataset import datasets_of
from mmvit.checks.model import class_faults, known_classes, require_fit
from mmvit.commands.training import training
from mmvit.errors import InputError
from mmvit.recipes.files import load_config

CONFIGS = HOME / "configs"


def short(value: Any) -> str:
    """What a test's parameter is called."""
    return ", ".join(value) if isinstance(value, dict) else str(value)[:40]


def told_by(config: Config) -> str:
    with pytest.raises(InputError) as raised:
        require_fit(config, datasets_of(config, ("train",)))
    return str(raised.value)


def leaf(name: str) -> Config:
    return load_config(CONFIGS / f"{name}.py")


# Options of a backbone


@each_family
def test_a_forgotten_delete(family: Family) -> None:
    """mmdet's and mmseg's ResNet is what most configs start from."""
    resnet = dict(depth=50, num_stages=4, style="pytorch", dilations=(1, 1, 2, 4), norm_eval=True, frozen_stages=1)
    with pytest.raises(InputError) as raised:
        family.build(**resnet)
    told = str(raised.value)
    assert told.startswith(f"{family.name} has no option depth=50, num_stages=4, style='pytorch', dilations=(1, 1, 2, 4);")
    assert "other backbones have depth, num_stages, style, dilations: where a base config's was merged" in told
    assert f"write backbone=dict(_delete_=True, type='mmvit.{family.name}', ...)" in told
    assert "its options are arch, " in told


@each_family
@pytest.mark.parametrize(
    ("wrong", "right"), [("drop_path", "drop_path_rate"), ("frozen_stage", "frozen_stages"), ("out_indice", "out_indices")]
)
def test_misspelt_options(family: Family, wrong: str, right: str) -> None:
    with pytest.raises(InputError) as raised:
        family.build(**{wrong: 1})
    assert f"{family.name} has no option {wrong}=1; instead of {wrong} did you mean {right}?" in str(raised.value)
    assert "_delete_" not in str(raised.value)


def test_names_are_looked_at_before_values() -> None:
    """mmseg's ResNets have strides, which VOLO has too and cannot take: it is the merge that went wrong."""
    with pytest.raises(InputError, match="_delete_=True"):
        VOLO("d1", strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
    with pytest.raises(InputError, match="PVT has no option strides"):
        PVT("tiny", strides=(4, 8, 16, 16))


@each_family
def test_misspelt_archs(family: Family) -> None:
    name = next(iter(family.archs))
    for wrong in (f"{name}_", f"-{name}", 9000, None, [name]):
        with pytest.raises(InputError) as raised:
            family.build(wrong) if wrong is not None else family.kind(None)
        assert ", ".join(family.archs) in str(raised.value)
        assert repr(wrong) in str(raised.value)
    with pytest.raises(InputError, match=rf"set of sizes; did you mean {name}\?"):
        family.build(f"{name}_")


def test_archs_that_the_command_line_makes_numbers() -> None:
    with torch.device("meta"):
        assert T2TViT(14).out_channels == T2TViT("14").out_channels


@pytest.mark.parametrize(
    "options",
    [
        dict(out_indices=4),
        dict(out_indices="0123"),
        dict(out_indices=(0, "1")),
        dict(out_indices=[3, 2]),
        dict(frozen_stages="1"),
        dict(frozen_stages=None),
    ],
    ids=str,
)
@each_family
def test_values_of_other_types(family: Family, options: dict[str, Any]) -> None:
    (key,) = options
    with pytest.raises(InputError, match=rf"{key}=.*: expected "):
        family.build(**options)


@each_family
@pytest.mark.parametrize("annotation", [inspect.Parameter.empty, Any, dict[str, int], "Any"], ids=str)
def test_checks_leave_the_classes_as_they_are(family: Family, annotation: Any) -> None:
    """Signature, copies, subclasses: what reads or builds a backbone in another way than a call."""
    assert next(iter(inspect.signature(family.kind).parameters)) == "arch"
    assert inspect.signature(family.kind) == inspect.signature(family.kind.__init__).replace(
        parameters=list(inspect.signature(family.kind.__init__).parameters.values())[1:]
    )
    model = family.build()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.out_channels == model.out_channels

    class Users(family.kind):
        def __init__(self, extra: int, **options: Any) -> None:
            super().__init__(family.tiny, **options)
            self.extra = extra

    Users.__init__.__annotations__["options"] = annotation
    assert Users(extra=1, out_indices=(1,)).out_indices == (1,)
    with pytest.raises(TypeError, match="depth"):
        Users(extra=1, depth=50)


# Parts that do not fit each other


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / "work_dirs").exists(), "refused before anything is built"


@pytest.mark.stack
@pytest.mark.parametrize(
    ("base", "backbone", "told"),
    [
        (
            "mmdet::_base_/models/retinanet_r50_fpn.py",
            "type='mmvit.PVT', arch='small'",
            "model.backbone: PVT has no option depth=50, num_stages=4, norm_cfg={'type': 'BN', 'requires_grad': True}, "
            "style='pytorch'; other backbones have",
        ),
        (
            "mmseg::_base_/models/upernet_r50.py",
            "type='mmvit.VOLO', arch='d1'",
            "model.backbone: VOLO has no option depth=50, num_stages=4, dilations=(1, 1, 1, 1), style='pytorch', "
            "contract_dilation=True; other backbones have",
        ),
        (
            "mmdet::_base_/models/retinanet_r50_fpn.py",
            "_delete_=True, type='mmvit.PVT'",
            "model.backbone: PVT.__init__() missing 1 required positional argument: 'arch'",
        ),
        (
            "mmdet::_base_/models/retinanet_r50_fpn.py",
            "_delete_=True, type='mmvit.PTV', arch='tiny'",
            "model.backbone.type: there is no mmvit.PTV; did you mean mmvit.PVT",
        ),
        (
            "mmdet::_base_/models/retinanet_r50_fpn.py",
            "_delete_=True, type='mmvit.PVT', arch='tiny'",
            "  model.neck.in_channels is [256, 512, 1024, 2048], but what comes before it gives [64, 128, 320, 512]",
        ),
        (
            "mmseg::_base_/models/upernet_r50.py",
            "_delete_=True, type='mmvit.VAN', arch='b0'",
            "  model.auxiliary_head.in_channels is 1024, but what comes before it gives 160",
        ),
    ],
    ids=short,
)
def test_train_refuses(here: Path, capsys: pytest.CaptureFixture, base: str, backbone: str, told: str) -> None:
    """Whole commands, with users' own configs on the bases of both packages."""
    (here / "own.py").write_text(
        f"_base_ = ['{base}', 'mmdet::_base_/default_runtime.py', 'mmdet::_base_/datasets/coco_detection.py']\n"
        f"default_scope = '{base[:5]}'\n"
        f"model = dict(backbone=dict({backbone}))\n"
    )
    assert training(["own.py"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert told in said
    assert "Traceback" not in said


@pytest.mark.stack
@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        (
            "retinanet_pvt_small_coco",
            {"model.bbox_head.num_classes": 81},
            "model.bbox_head.num_classes is 81, but train_dataloader.dataset (CocoDataset) has 80 classes (person, bicycle, "
            "car, ...): set it to 80, or name other classes in train_dataloader.dataset.metainfo.classes",
        ),
        (
            "retinanet_pvt_small_coco",
            {"train_dataloader.dataset.metainfo": dict(classes=("screw", "nut"))},
            "model.bbox_head.num_classes is 80, but train_dataloader.dataset (CocoDataset) has 2 classes (screw, nut)",
        ),
        ("mask_rcnn_pvt_small_coco", {"model.roi_head.bbox_head.num_classes": 3}, "model.roi_head.bbox_head.num_classes is 3"),
        ("mask_rcnn_pvt_small_coco", {"model.roi_head.mask_head.num_classes": 3}, "model.roi_head.mask_head.num_classes is 3"),
        ("upernet_van_b2_ade20k", {"model.decode_head.num_classes": 19}, "model.decode_head.num_classes is 19, but"),
        ("upernet_van_b2_ade20k", {"model.auxiliary_head.num_classes": 19}, "model.auxiliary_head.num_classes is 19, but"),
        ("segformer_pvt_v2_b2_cityscapes", {"model.decode_head.num_classes": 150}, "(CityscapesDataset) has 19 classes (road"),
        (
            "upernet_van_b2_ade20k",
            {"model.decode_head.in_channels": [64, 128, 256, 512]},
            "model.decode_head.in_channels is [64, 128, 256, 512], but what comes before it gives [64, 128, 320, 512]",
        ),
        (
            "upernet_van_b2_ade20k",
            {"model.auxiliary_head.in_index": 4},
            "model.auxiliary_head.in_index is 4, but there are 4 maps: [64, 128, 320, 512]",
        ),
        (
            "mask_rcnn_pvt_small_coco",
            {"model.neck.in_channels": [64, 128, 320]},
            "model.neck.in_channels is [64, 128, 320], but what comes before it gives [64, 128, 320, 512]",
        ),
        (
            "mask_rcnn_pvt_small_coco",
            {"model.neck.out_channels": 128},
            "model.rpn_head.in_channels is 256, but what comes before it gives 128",
        ),
        (
            "fpn_pvt_small_ade20k",
            {"model.backbone.out_indices": (0, 1, 2)},
            "model.neck.in_channels is [64, 128, 320, 512], but what comes before it gives [64, 128, 320]",
        ),
    ],
    ids=short,
)
def test_parts_that_do_not_fit(name: str, options: dict[str, Any], told: str) -> None:
    config = leaf(name)
    config.merge_from_dict(options)
    assert told in told_by(config)


@pytest.mark.stack
@pytest.mark.parametrize(
    ("name", "options"),
    [
        # a level that the neck leaves out
        ("retinanet_pvt_small_coco", {"model.neck.in_channels": [1, 128, 320, 512]}),
        # necks that take one map, or turn the order
        (
            "retinanet_pvt_small_coco",
            {
                "model.backbone.out_indices": (3,),
                "model.neck": dict(
                    _delete_=True,
                    type="DilatedEncoder",
                    in_channels=512,
                    out_channels=256,
                    block_mid_channels=128,
                    num_residual_blocks=2,
                    block_dilations=[2, 4],
                ),
            },
        ),
        (
            "retinanet_pvt_small_coco",
            {
                "model.backbone.out_indices": (1, 2, 3),
                "model.neck": dict(
                    _delete_=True, type="YOLOV3Neck", num_scales=3, in_channels=[512, 320, 128], out_channels=[512, 256, 128]
                ),
                "model.bbox_head.in_channels": 256,
            },
        ),
        # parts that cannot be tried out, of packages that are not here
        ("retinanet_pvt_small_coco", {"model.neck.type": "absent.Neck", "model.neck.in_channels": 7}),
        ("upernet_van_b2_ade20k", {"model.decode_head.type": "absent.Head", "model.decode_head.num_classes": 7}),
        # two classes from one map, the old way and the new
        (
            "fpn_pvt_small_ade20k",
            {
                "model.decode_head.num_classes": 2,
                "model.decode_head.out_channels": 1,
                "train_dataloader.dataset.metainfo": dict(classes=("cell",)),
            },
        ),
        (
            "fpn_pvt_small_ade20k",
            {"model.decode_head.num_classes": 1, "train_dataloader.dataset.metainfo": dict(classes=("no", "yes"))},
        ),
        # heads whose classes are others than the dataset's
        ("upernet_van_b2_ade20k", {"model.auxiliary_head.type": "STDCHead", "model.auxiliary_head.num_classes": 2}),
        ("mask_rcnn_pvt_small_coco", {"model.rpn_head.num_classes": 1}),
        ("mask_rcnn_pvt_small_coco", {"model.roi_head.mask_head": dict(class_agnostic=True, num_classes=1)}),
        # classes that nobody knows before the files are read
        ("mask_rcnn_pvt_small_coco", {"train_dataloader.dataset.metainfo": dict(classes="classes.txt")}),
        ("mask_rcnn_pvt_small_coco", {"train_dataloader.dataset.type": "CocoPanopticDataset"}),
        ("mask_rcnn_pvt_small_coco", {"train_dataloader.dataset.type": "absent.Dataset"}),
        ("mask_rcnn_pvt_small_coco", {"train_dataloader": None}),
        # other backbones
        ("retinanet_pvt_small_coco", {"model.backbone": dict(_delete_=True, type="ResNet", depth=18)}),
        ("retinanet_pvt_small_coco", {"model.backbone": dict(_delete_=True, type="absent.Backbone")}),
    ],
    ids=short,
)
def test_what_would_run_is_not_refused(name: str, options: dict[str, Any]) -> None:
    config = leaf(name)
    for key, value in options.items():
        if isinstance(value, dict) and value.pop("_delete_", False):
            part, _, entry = key.rpartition(".")
            config.model[entry] = ConfigDict(value)
            assert part == "model"
        else:
            config.merge_from_dict({key: value})
    require_fit(config, list(datasets_of(config, ("train",))))


@pytest.mark.stack
def test_cascades_and_wrapped_datasets() -> None:
    heads = [dict(type="Shared2FCBBoxHead", num_classes=count) for count in (80, 80, 3)]
    model = dict(roi_head=dict(bbox_head=heads, mask_head=dict(type="FCNMaskHead", num_classes=80)))
    coco = dict(type="CocoDataset")
    wrapped = dict(type="RepeatDataset", times=2, dataset=dict(type="ConcatDataset", datasets=[coco, coco]))
    config = Config(dict(train_dataloader=dict(dataset=wrapped)))
    with DefaultScope.overwrite_default_scope("mmdet"):
        (fault,) = class_faults(model, datasets_of(config, ("train",)))
        assert fault.startswith("model.roi_head.bbox_head.2.num_classes is 3, but train_dataloader.dataset.dataset.datasets.")
        wrapped["dataset"]["datasets"] = [coco, dict(coco, metainfo=dict(classes=("screw",)))]
        config = Config(dict(train_dataloader=dict(dataset=wrapped)))
        assert class_faults(model, datasets_of(config, ("train",))) == [], "which of them is meant cannot be known"
        assert known_classes(dict(type="CocoDataset"))[:2] == ["person", "bicycle"]


@pytest.mark.stack
def test_configs_of_ours_fit() -> None:
    for file in sorted(CONFIGS.glob("*.py"))[::6]:
        config = load_config(file)
        require_fit(config, datasets_of(config, ("train",)))


@pytest.mark.stack
def test_registries_tell_the_message_as_it_is() -> None:
    import mmdet.registry
    import mmseg.registry

    for registry in (MODELS, mmdet.registry.MODELS, mmseg.registry.MODELS):
        with pytest.raises(InputError, match=r"^PVT has no option depth=50; "):
            registry.build(dict(type="mmvit.PVT", arch="tiny", depth=50))
