"""Makers of tiny datasets, whole and broken, and configs that read them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from makers import HOME, write_coco
from mmengine.config import Config
from mmengine.registry import DATASETS
from PIL import Image

from mmvit.checks.plan import Plan
from mmvit.checks.table import check_start, examine
from mmvit.config.files import load_config
from mmvit.data.reading import name_files
from mmvit.errors import InputError

CONFIGS = HOME / "configs"
NAMES = ("screw", "nut")
STRANGE_NAME = "Über 鸟 mit Leerzeichen"
COLOUR = (200, 100, 50)


def coco(**changed: Any) -> dict[str, Any]:
    """Two images, 96 x 64 pixels, each with a box and a polygon; lists are replaced by `changed`."""
    box = dict(category_id=1, bbox=[8, 8, 40, 48], area=1920, iscrowd=0, segmentation=[[8, 8, 48, 8, 48, 56]])
    content = dict(
        images=[dict(id=i, file_name=f"{i}.png", width=96, height=64) for i in (1, 2)],
        annotations=[dict(box, id=10 + i, image_id=i) for i in (1, 2)],
        categories=[dict(id=i + 1, name=name) for i, name in enumerate(NAMES)],
    )
    return {**content, **changed}


def with_annotation(**values: Any) -> dict[str, Any]:
    """A third annotation, number 7, unlike the others in some entries; None takes an entry away."""
    content = coco()
    third = {**content["annotations"][0], "id": 7, **values}
    content["annotations"].append({name: value for name, value in third.items() if value is not None})
    return content


def write(root: Path, content: dict[str, Any] | str | bytes) -> Config:
    """A folder with an annotation file and its images, and a config of ours that trains and tests with it."""
    root.mkdir(parents=True, exist_ok=True)
    file = root / "ann.json"
    if isinstance(content, dict):
        content = json.dumps(content)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    (root / "images").mkdir(exist_ok=True)
    for name in ("1.png", "2.png"):
        Image.new("RGB", (96, 64), COLOUR).save(root / "images" / name)
    return detector(root)


def own_config(name: str = "retinanet_pvt_tiny_coco", **options: Any) -> Config:
    """A config of ours with some `options` as `--cfg-options` sets them."""
    cfg = load_config(CONFIGS / f"{name}.py")
    cfg.merge_from_dict(options)
    return cfg


def detector(root: Path, head: str = "retinanet") -> Config:
    cfg = load_config(CONFIGS / f"{head}_pvt_v2_b0_coco.py")
    cfg.model.backbone.init_cfg = None
    for part in (cfg.model, cfg.model.get("roi_head") or {}):
        for name in ("bbox_head", "mask_head"):
            if name in part:
                part[name].num_classes = len(NAMES)
    for split in ("train", "val", "test"):
        dataset = cfg[f"{split}_dataloader"].dataset
        dataset.update(data_root=str(root), ann_file="ann.json", data_prefix=dict(img="images"))
        dataset.metainfo = dict(classes=NAMES)
    for split in ("val", "test"):
        cfg[f"{split}_evaluator"].ann_file = str(root / "ann.json")
    return cfg


def texts(cfg: Config, splits: tuple[str, ...], *verdicts: str) -> list[str]:
    """What the checks before a run find, of some verdicts."""
    return [finding.text for finding in examine(Plan(cfg, splits)) if finding.verdict in verdicts]


def refusal(call: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(InputError) as raised:
        call(*arguments)
    return str(raised.value)


def refused(cfg: Config, *splits: str) -> str:
    """What stops a run before it begins; without `splits` one that reads the training data."""
    return refusal(check_start, cfg, splits or ("train",))


def colour_image(path: Path, mode: str = "RGB") -> str:
    image = Image.new("RGB", (40, 24), COLOUR)
    (image.quantize() if mode == "P" else image.convert(mode)).save(path)
    return str(path)


def oriented(path: Path, orientation: int) -> str:
    """40 x 24 pixels, the left half bright, with a word on which way is up."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.zeros((24, 40, 3), np.uint8)
    pixels[:, :20] = 255
    Image.fromarray(pixels).save(path, exif=exif, quality=100)
    return str(path)


def built(settings: dict[str, Any]) -> Any:
    """A dataset as a run has it."""
    dataset = DATASETS.build(settings)
    name_files(dataset)
    return dataset


def label_map(path: Path, values: Any = 1, size: tuple[int, int] = (40, 24)) -> dict[str, Any]:
    """What a dataset of mmseg gives a pipeline, for a label map and its image of 40 x 24."""
    Image.fromarray(np.broadcast_to(np.array(values), (size[1], size[0])).astype(np.uint8)).save(path)
    return results_of(path)


def results_of(path: Path) -> dict[str, Any]:
    """As above, for a label map that is written already."""
    image = path.with_name("image of it.png")
    Image.new("RGB", (40, 24), COLOUR).save(image)
    return dict(
        img_path=str(image),
        seg_map_path=str(path),
        reduce_zero_label=False,
        label_map=None,
        seg_fields=[],
        ori_shape=(24, 40),
    )


def segmenter(root: Path, values: Any = 1, leaf: str = "fpn_van_b0_ade20k") -> Config:
    """A config of ours and its dataset: images 1.png and 2.png of 40 x 24 pixels, and their label maps."""
    for name in ("1.png", "2.png"):
        for folder in ("images", "maps"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        colour_image(root / "images" / name)
        label_map(root / "maps" / name, values)
    (root / "maps" / "image of it.png").unlink()
    cfg = load_config(CONFIGS / f"{leaf}.py")
    cfg.model.backbone.init_cfg = None
    for split in ("train", "val", "test"):
        cfg[f"{split}_dataloader"].dataset = dict(
            type="BaseSegDataset",
            data_root=str(root),
            data_prefix=dict(img_path="images", seg_map_path="maps"),
            img_suffix=".png",
            metainfo=dict(classes=NAMES),
            pipeline=cfg.train_pipeline if split == "train" else cfg.test_pipeline,
            test_mode=split != "train",
        )
    return cfg


def write_noise_coco(root: Path, count: int) -> None:
    """A COCO of `count` images, the same in both splits, all noise, so that no two of them have the same predictions."""
    write_coco(root, images=count)
    for split in ("train2017", "val2017"):
        noise = np.random.default_rng(0)
        for index in range(count):
            save_noise(noise, (64, 96, 3), 255, root / split / f"{index:012d}.jpg")


def write_noise_maps(root: Path, count: int) -> None:
    """`images` and `maps` of three classes, `count` each, all noise."""
    noise = np.random.default_rng(0)
    for folder, shape, values in (("images", (64, 96, 3), 255), ("maps", (64, 96), 3)):
        (root / folder).mkdir(parents=True)
        for index in range(count):
            save_noise(noise, shape, values, root / folder / f"{index:012d}.png")


def save_noise(noise: np.random.Generator, shape: tuple[int, ...], values: int, file: Path) -> None:
    Image.fromarray(noise.integers(0, values, shape, dtype=np.uint8)).save(file)
