"""Data and configs of `--whole`: the demo's images in any size and number, a config, and its stock counterpart."""

import json
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from mmvit.config.files import config_file, load_config
from mmvit.demo.dataset import build
from mmvit.demo.spec import ADE20K, DemoSpec
from mmvit.errors import InputError
from mmvit.recipes.configs import parse

FILES = 16  # images that are drawn; the lists repeat them
VALIDATION = 4000  # entries in the list for validation, more than an evaluation can finish
CROPS = ("RandomCrop", "Pad")
RESIZES = ("Resize", "RandomResize", "RandomChoiceResize")
HUGE = 10**7  # iterations or epochs
MIT = dict(b0=0, b1=1, b2=2, b3=3, b4=4, b5=5)  # size of SegFormer's backbone for each arch of PVT v2


def write_data(root: Path, height: int, width: int, images: int, kind: str) -> None:
    """Draw images below `root`, and write lists that repeat them until there are `images` entries.

    Args:
        kind: type of the dataset, CocoDataset or ADE20KDataset.
    """
    build(root, DemoSpec(image_size=max(96, min(height, width)), train_images=FILES, val_images=FILES))
    for split, number in (("train", images), ("val", VALIDATION)):
        if kind == "CocoDataset":
            _many_annotations(root / "coco" / "annotations" / f"instances_{split}2017.json", number)
        else:
            folder = root / ADE20K.root / ADE20K.folders(split)[0]
            names = sorted(file.stem for file in folder.iterdir())
            (root / f"{split}.txt").write_text("\n".join(names[at % len(names)] for at in range(number)), encoding="utf-8")


def _many_annotations(file: Path, number: int) -> None:
    from mmdet.datasets import CocoDataset

    content = json.loads(file.read_text(encoding="utf-8"))
    classes = CocoDataset.METAINFO["classes"]
    of_image: dict[int, list[dict]] = {}
    for annotation in content["annotations"]:
        of_image.setdefault(annotation["image_id"], []).append(annotation)
    images, annotations = [], []
    for at in range(number):
        image = content["images"][at % len(content["images"])]
        images.append({**image, "id": at})
        for annotation in of_image.get(image["id"], ()):
            annotations.append({**annotation, "id": len(annotations) + 1, "image_id": at})
    categories = [dict(id=at, name=name) for at, name in enumerate(classes, 1)]
    file.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)), encoding="utf-8")


def our_config(name: str, root: Path, height: int, width: int, batch: int, workers: int) -> Config:
    """Return a config for the data of `write_data`, in one size, with random weights and an endless schedule.

    Raises:
        InputError: the config is neither for COCO nor for ADE20K.
    """
    cfg = load_config(config_file(name))
    kind = cfg.train_dataloader.dataset.get("type")
    if kind not in ("CocoDataset", "ADE20KDataset"):
        raise InputError(f"--whole {name}: expected a config of CocoDataset or ADE20KDataset, it has {kind}")
    cfg.model.backbone.init_cfg = None
    if "size" in cfg.model.data_preprocessor:
        cfg.model.data_preprocessor.size = (height, width)
    for split in ("train", "val", "test"):
        loader = cfg[f"{split}_dataloader"]
        loader.batch_size = batch if split == "train" else 1
        loader.num_workers, loader.persistent_workers = workers, workers > 0
        dataset = loader.dataset
        dataset.pipeline = [_sized(step, height, width) for step in dataset.pipeline if step["type"] not in CROPS]
        if kind == "CocoDataset":
            dataset.data_root = f"{root.as_posix()}/coco/"
            if split != "train":
                cfg[f"{split}_evaluator"].ann_file = f"{root.as_posix()}/coco/annotations/instances_val2017.json"
        else:
            dataset.data_root = (root / ADE20K.root).as_posix()
            dataset.ann_file = (root / f"{'train' if split == 'train' else 'val'}.txt").as_posix()
    by_epoch = "max_epochs" in cfg.train_cfg
    cfg.train_cfg.update(val_interval=HUGE, **({"max_epochs": HUGE} if by_epoch else {"max_iters": HUGE}))
    cfg.default_hooks.checkpoint.update(interval=HUGE, save_best=None)
    cfg.param_scheduler = []
    cfg.pop("tta_model", None)
    return cfg


def _sized(step: ConfigDict, height: int, width: int) -> dict[str, Any]:
    return dict(type="Resize", scale=(width, height), keep_ratio=False) if step["type"] in RESIZES else step


def stock_config(cfg: Config, name: str) -> tuple[Config, str]:
    """Return the same config with mmdet's or mmseg's own loops, hooks and backbone, and a remark on the backbone."""
    stock = deepcopy(cfg)
    stock.train_cfg.type = stock.train_cfg.type.removeprefix("mmvit.")
    stock.default_hooks.checkpoint.type = "CheckpointHook"
    for key in [key for key, hook in stock.default_hooks.items() if hook["type"].startswith("mmvit.")]:
        stock.default_hooks.pop(key)
    stock.custom_hooks = []
    backbone, remark = _stock_backbone(name, cfg)
    if backbone is not None:
        stock.model.backbone = backbone
    return stock, remark


def shipped(toolkit: str, folder: str) -> Path:
    """Return the folder of configs or tools that a toolkit ships."""
    package = find_spec(toolkit)
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / ".mim" / folder


def _shipped(toolkit: str, file: str) -> Config:
    return Config.fromfile(shipped(toolkit, "configs") / file)


def _stock_backbone(name: str, cfg: Config) -> tuple[dict | None, str]:
    leaf = parse(config_file(name).stem)
    family = {"pvt": "pvt", "pvt_v2": "pvtv2"}.get(leaf.family)
    arch = leaf.arch[0] if leaf.family == "pvt" else leaf.arch
    if cfg.default_scope == "mmdet" and family and leaf.arch != "b2_li":
        found = _shipped("mmdet", f"pvt/retinanet_{family}-{arch}_fpn_1x_coco.py").model.backbone
        return {**found, "init_cfg": None}, f"{found['type']} of mmdet"
    if cfg.default_scope == "mmseg" and leaf.family == "pvt_v2" and leaf.arch in MIT:
        file = f"segformer/segformer_mit-b{MIT[leaf.arch]}_8xb2-160k_ade20k-512x512.py"
        found = _shipped("mmseg", file).model.backbone
        return {**found, "init_cfg": None}, "MixVisionTransformer of mmseg, another network of equal size"
    return None, "our backbone, because the toolkit has none of this family; only loops, hooks and script differ"
