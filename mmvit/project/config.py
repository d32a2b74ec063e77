"""The text of a config: what a person reads and changes, with the reasons as comments."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config.datasets import SPLITS
from ..data.colours import palette_of
from ..errors import counted
from .plan import HALF, WARM_UP, Plan

WIDTH = 128
VALIDATIONS = 10  # in a run
LISTED = 24  # classes whose colours are written out
NORMS = "what has no trained weights needs norms, in neck and head (arXiv 1811.08883)"
RULES = "_base_.optim_wrapper.paramwise_cfg.custom_keys"  # SegFormer's: ten times the rate of a trained backbone for the head
ONE_RATE = f"one_rate = dict(custom_keys={{key: dict(rule, lr_mult=1) for key, rule in {RULES}.items()}})"
HERE = "{{ fileDirname }}/"  # mmengine puts the config's own folder there


@dataclass(frozen=True)
class Files:
    """Where a run finds its data."""

    root: Path  # the folder with the pictures
    labels: Mapping[str, str]  # of each split, the annotation file or the list; beside the config, or absolute
    prefixes: Mapping[str, Mapping[str, str]]  # of each split, the folders of pictures (and of label maps) below the root
    suffixes: tuple[str, str] = ("", "")  # ends of the names of pictures and label maps, for label maps


def quoted(value: str) -> str:
    """Return a text as Python source in which mmengine finds nothing to replace: a class called {{ ... }} stays a name."""
    return json.dumps(value, ensure_ascii=False).replace("{{", "\\x7b{").replace("}}", "}\\x7d")


def placed(path: str) -> str:
    """Return a path as source: an absolute one as it is, any other in the config's own folder."""
    return quoted(path) if Path(path).is_absolute() else f'"{HERE}{path}"'


def text(title: str, plan: Plan, classes: Sequence[str], files: Files) -> str:
    """Return the source of a config.

    Args:
        title: what the data are, in a line.
        classes: names, in the order of the annotation files or of the values of label maps.
    """
    base = f"{plan.base}.py" if plan.source else f"mmvit::{plan.base}.py"
    clipping = 'dict(type="value", clip_value=0.5)' if plan.task == "binary" else "dict(max_norm=10.0)"
    lines = [
        f"# {title}",
        f'_base_ = "{base}"  # the recipe, of which the rest is what these data change',
        f'work_dir = "{HERE}run"',
        *_rows("classes = (", [quoted(name) for name in classes], ")", "  # in the order of the labels' numbers"),
        *_palette(classes),
        *_model(plan, len(classes)),
        f"scale = {plan.sizes.scale}  # long and short side: {plan.sizes.reason}",
        *_loading(plan),
        *_training(plan),
        f"resize = dict(scale=scale, keep_ratio={plan.keep_ratio})",
        f"{'tested' if plan.bands else 'test_pipeline'} = "
        '[dict(step, **resize) if step["type"] == "Resize" else step for step in _base_.test_pipeline]',
        *(["test_pipeline = [load, *tested[1:]]"] * (plan.bands is not None)),
        'views = [dict(resize, type="Resize", scale=(scale[0] * f // 4, scale[1] * f // 4)) for f in (3, 4, 5)]  # of --tta',
        f"tta_pipeline = [{'load' if plan.bands else '_base_.tta_pipeline[0]'}, "
        'dict(_base_.tta_pipeline[1], transforms=[views, *_base_.tta_pipeline[1]["transforms"][1:]])]',
        *(_pixel_data(files) if plan.pixels else _object_data(files, len(classes))),
        *(['val_evaluator = test_evaluator = dict(type="mmvit.BinaryMetric")'] * (plan.task == "binary")),
        f"train_dataloader = dict(batch_size={plan.batch}, dataset=train_data)  # {plan.batch_reason}",
        "val_dataloader, test_dataloader = dict(dataset=val_data), dict(dataset=test_data)",
        *_schedule(plan),
        *([ONE_RATE] * plan.one_rate),
        f"optim_wrapper = dict(optimizer=dict(lr={plan.lr}), clip_grad={clipping}"
        f"{', paramwise_cfg=one_rate' * plan.one_rate})  # {plan.lr_reason}",
        f"auto_scale_lr = dict(base_batch_size={plan.batch})  # from which --auto-scale-lr scales the rate",
    ]
    return "\n".join(lines) + "\n"


def _rows(opening: str, entries: Sequence[str], closing: str, remark: str = "") -> list[str]:
    """Return a sequence as source: on one line if it fits, else as many entries a line as fit."""
    whole = f"{opening}{', '.join(entries)}{',' * (len(entries) == 1)}{closing}{remark}"
    if len(whole) <= WIDTH:
        return [whole]
    rows = ["   "]
    for entry in entries:
        if len(rows[-1]) + len(entry) + 2 > WIDTH:
            rows.append("   ")
        rows[-1] += f" {entry},"
    return [opening + remark, *rows, closing]


def _palette(classes: Sequence[str]) -> list[str]:
    """Return the classes and their colours; many classes get theirs from mmvit as it draws, the same ones."""
    if len(classes) > LISTED:
        return ["metainfo = dict(classes=classes)"]
    return _rows("metainfo = dict(classes=classes, palette=[", [str(colour) for colour in palette_of(classes)], "])")


def _model(plan: Plan, count: int) -> list[str]:
    parts, backbone = [], []
    before = [f"size={plan.sizes.crop}"] if plan.sizes.crop else []
    if plan.bands:
        before += ["mean=None", "std=None", "bgr_to_rgb=False"]
        backbone.append(f"in_channels={len(plan.bands[0])}")
    if before:
        parts.append(f"data_preprocessor=dict({', '.join(before)})")
    lines, light = [], ""
    if plan.weights:
        also = ", and without a GPU a light head" if plan.light else ""
        lines = [f"# Random weights{also}: {plan.weights}. With the file, remove init_cfg=None"]
        backbone.append("init_cfg=None")
    if backbone:
        parts.append(f"backbone=dict({', '.join(backbone)})")
    if plan.light:
        light = f", {plan.light.head}"
        if plan.light.norms:
            light = ", **light"
            lines += [
                f'norm = dict(type="GN", num_groups=32)  # {NORMS}',
                f"light = dict({plan.light.head}, norm_cfg=norm)",
            ]
        if plan.light.neck:
            parts.append(f"neck=dict({plan.light.neck}{', norm_cfg=norm' * plan.light.norms})")
    if plan.task == "binary":
        lines += [
            'loss = dict(_delete_=True, type="mmvit.StructureLoss")  # borders weigh more (F3Net, arXiv 1911.11445)',
            f"head = dict(num_classes=2, out_channels=1, threshold=0.5, loss_decode=loss{light})  # one logit for two classes",
        ]
        if plan.head == "upernet":
            lines.append("second = dict(head, loss_decode=dict(loss, loss_weight=0.4))")
    parts += _heads(plan, count, light)
    return [*lines, f"model = dict({', '.join(parts)})"] if plan.bands else [*lines, *_rows("model = dict(", parts, ")")]


def _heads(plan: Plan, count: int, light: str) -> list[str]:
    """Return the number of classes of every head."""
    if plan.task == "boxes":
        fine = f", anchor_generator=dict(octave_base_scale={HALF[plan.head]})" * (plan.fine is not None)
        return [f"bbox_head=dict(num_classes={count}{fine}{light})"]
    if plan.task == "masks":
        fine = "rpn_head=dict(anchor_generator=dict(scales=[4])), " * (plan.fine is not None)
        return [f"{fine}roi_head=dict(bbox_head=dict(num_classes={count}), mask_head=dict(num_classes={count}))"]
    second = plan.head == "upernet"
    if plan.task == "binary":
        return ["decode_head=head"] + ["auxiliary_head=second"] * second
    heads = ["decode_head"] + ["auxiliary_head"] * second
    return [f"{head}=dict(num_classes={count}{light})" for head in heads]


def _loading(plan: Plan) -> list[str]:
    """Return the first step of all pipelines, if it is not the recipe's."""
    if plan.bands is None:
        return []
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in plan.bands)
    return [f'load = dict(type="mmvit.LoadBands", mean=[{mean}], std=[{std}])  # of each band in training']


def _training(plan: Plan) -> list[str]:
    """Return the pipeline of the pictures to train on."""
    flip = 'dict(type="RandomFlip", prob=0.5),  # 0.0 if left and right mean something'
    if plan.pixels:
        steps = [
            'dict(type="LoadAnnotations"),',
            f'dict(type="RandomResize", scale=scale, ratio_range={plan.sizes.ratio}, keep_ratio={plan.keep_ratio}),',
            f'dict(type="RandomCrop", crop_size={plan.sizes.crop}, cat_max_ratio={0.75 if plan.task != "binary" else 1.0}),',
            flip,
            *(['dict(type="PhotoMetricDistortion"),  # take it out if colours are measurements'] * (plan.bands is None)),
            'dict(type="PackSegInputs"),',
        ]
    else:
        masks = ", with_mask=True" * (plan.task == "masks")
        steps = [
            f'dict(type="LoadAnnotations", with_bbox=True{masks}),',
            'dict(type="RandomResize", scale=scale, ratio_range=(0.8, 1.25), keep_ratio=True),  # few pictures: let sizes vary',
            flip,
            'dict(type="PackDetInputs"),',
        ]
    load = "load," if plan.bands else 'dict(type="LoadImageFromFile"),'
    return ["train_pipeline = [", *(f"    {step}" for step in (load, *steps)), "]"]


def _object_data(files: Files, count: int) -> list[str]:
    data = f"data = dict(data_root={quoted(files.root.as_posix() + '/')}, metainfo=metainfo)  # pictures stay where they are"
    prefixes = {split: f", data_prefix=dict(img={quoted(files.prefixes[split]['img'])})" for split in files.labels}
    each = ", classwise=True" * (count <= LISTED)
    evaluators = f'dict(ann_file=val_data["ann_file"]{each}), dict(ann_file=test_data["ann_file"]{each})'
    return [data, *_splits(files, prefixes, ""), f"val_evaluator, test_evaluator = {evaluators}"]


def _pixel_data(files: Files) -> list[str]:
    prefixes = files.prefixes["train"]
    folders = f"img_path={quoted(prefixes['img_path'])}, seg_map_path={placed(prefixes['seg_map_path'])}"
    suffixes = f"img_suffix={quoted(files.suffixes[0])}, seg_map_suffix={quoted(files.suffixes[1])}"
    return [
        f"prefix = dict({folders})",
        f'data = dict(_delete_=True, type="BaseSegDataset", data_root={quoted(files.root.as_posix())}, data_prefix=prefix)',
        f"data.update({suffixes}, metainfo=metainfo)  # pictures stay; lists name those of a split",
        *_splits(files, {}, ", test_mode=True"),
    ]


def _splits(files: Files, prefixes: Mapping[str, str], tested: str) -> list[str]:
    """Return the dataset of each split, with options of each split and of those that are not trained on."""
    lines = []
    for split in SPLITS:
        if split in files.labels:
            pipeline = "train_pipeline" if split == "train" else f"test_pipeline{tested}"
            options = f"ann_file={placed(files.labels[split])}{prefixes.get(split, '')}, pipeline={pipeline}"
            lines.append(f"{split}_data = dict({options}, **data)")
    return lines if "test" in files.labels else [*lines, "test_data = val_data  # there is no test split"]


def _schedule(plan: Plan) -> list[str]:
    total = plan.iterations
    reason = f"  # a tenth of {total} iterations" if plan.warm_up < WARM_UP else ""
    warm_up = f'warm_up = dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end={plan.warm_up}){reason}'
    if plan.pixels:
        every = max(1, total // VALIDATIONS)
        length = f"train_cfg = dict(max_iters={total}, val_interval={every})  # {plan.epochs} times all pictures"
        decay = f'dict(type="PolyLR", power=0.9, eta_min=0.0, by_epoch=False, begin={plan.warm_up}, end={total})'
        logged = max(1, min(50, every // 2))
    else:
        every = max(1, plan.epochs // VALIDATIONS)
        epoch = counted(plan.steps, "iteration")
        length = f"train_cfg = dict(max_epochs={plan.epochs}, val_interval={every})  # {epoch} an epoch"
        decay = f'dict(type="CosineAnnealingLR", T_max={plan.epochs}, eta_min_ratio=0.01, convert_to_iter_based=True)'
        logged = max(1, min(50, plan.steps // 2))
    hooks = f"default_hooks = dict(logger=dict(interval={logged}), checkpoint=dict(interval={every}))"
    return [length, warm_up, f"param_scheduler = [warm_up, {decay}]", hooks]
