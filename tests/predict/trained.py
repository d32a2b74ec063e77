"""Tiny models with random but fixed weights of each head, with config, checkpoint and images; and films."""

import json
from pathlib import Path

import cv2
import numpy as np
import torch
from families import FAMILIES
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

import mmvit
from mmvit.__main__ import main
from mmvit.config.files import load_config, our_config
from mmvit.demo.recipe import apply

HEADS = {
    "retinanet": "retinanet_pvt_tiny_coco",
    "mask_rcnn": "mask_rcnn_pvt_tiny_coco",
    "mask2former": "mask2former_instance_pvt_small_coco",
    "fpn": "fpn_pvt_tiny_ade20k",
    "upernet": "upernet_pvt_small_ade20k",
    "segformer": "segformer_pvt_small_ade20k",
}
SIZES = ((64, 96), (96, 64), (64, 96), (64, 96))  # height, width


class Trained:
    """A model of random but fixed weights, its config, its checkpoint, and four images."""

    def __init__(self, head: str, folder: Path) -> None:
        self.head, self.folder = head, folder
        cfg = load_config(our_config(HEADS[head]))
        apply(cfg, folder / "data")
        self.segments = cfg.default_scope == "mmseg"
        shrink(cfg)
        self.config = folder / f"{head}.py"
        cfg.dump(self.config)
        self.cfg = load_config(self.config)
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            model = MODELS.build(cfg.model)
            model.init_weights()
        self.checkpoint = folder / "epoch_1.pth"
        self.classes = tuple(cfg.test_dataloader.dataset.metainfo.classes)
        meta = dict(cfg=self.cfg.pretty_text, dataset_meta=dict(classes=self.classes))
        torch.save(dict(state_dict=model.state_dict(), meta=meta), self.checkpoint)
        self.images = self.write_images()

    def write_images(self) -> Path:
        root = self.folder / "data"
        images = root / ("ade/ADEChallengeData2016/images/validation" if self.segments else "coco/val2017")
        images.mkdir(parents=True)
        entries = []
        for index, (height, width) in enumerate(SIZES):
            pixels = np.random.default_rng(index).integers(0, 255, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(images / f"{index}.png")
            entries.append(dict(id=index, file_name=f"{index}.png", height=height, width=width))
        if self.segments:
            maps = root / "ade/ADEChallengeData2016/annotations/validation"
            maps.mkdir(parents=True)
            for index, (height, width) in enumerate(SIZES):
                Image.fromarray(np.full((height, width), 1, dtype=np.uint8)).save(maps / f"{index}.png")
        else:
            categories = [dict(id=i + 1, name=name, supercategory="digit") for i, name in enumerate(self.classes)]
            box = dict(bbox=[4, 4, 30, 30], area=900, iscrowd=0, segmentation=[[4, 4, 34, 4, 34, 34, 4, 34]])
            annotations = [dict(box, id=i + 1, image_id=i, category_id=1) for i in range(len(SIZES))]
            content = dict(info={}, licenses=[], images=entries, annotations=annotations, categories=categories)
            (root / "coco/annotations").mkdir()
            for split in ("val", "train"):
                (root / f"coco/annotations/instances_{split}2017.json").write_text(json.dumps(content))
        for folder in [images, *([maps] if self.segments else [])]:  # training and validation are the same
            folder.with_name("training" if self.segments else "train2017").symlink_to(folder.name)
        return images

    def predict(self, *inputs: object, out: Path, options: str = "") -> int:
        """The exit status of the command, which reads the config from the checkpoint."""
        return main(["predict", str(self.checkpoint), *map(str, inputs), "--out", str(out), *options.split()])

    def predictor(self, **options: object) -> mmvit.Predictor:
        return mmvit.Predictor(self.config, self.checkpoint, **{"score": 0.0, **options})


def write_film(file: Path, count: int, code: str = "MJPG") -> Path:
    """Write so many frames of noise, 5 a second."""
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*code), 5, (96, 64))
    noise = np.random.default_rng(0)
    for _ in range(count):
        writer.write(noise.integers(0, 256, (64, 96, 3), dtype=np.uint8))
    writer.release()
    return file


def shrink(cfg: Config, family: str = "PVT") -> None:
    """Make the model of a config of ours tiny and random, and its loaders ones without workers."""
    tiny = next(entry.tiny for entry in FAMILIES if entry.name == family)
    cfg.model.backbone.update(arch=tiny, init_cfg=None)
    for part in ("decode_head", "auxiliary_head"):
        if part in cfg.model:
            head = cfg.model[part]
            head.channels = 16
            levels = [16] * 4 if "neck" in cfg.model else tiny["dims"]
            head.in_channels = tiny["dims"][2] if part == "auxiliary_head" else levels
    if "neck" in cfg.model:
        cfg.model.neck.update(in_channels=tiny["dims"], out_channels=16)
    if "rpn_head" in cfg.model:
        cfg.model.rpn_head.update(in_channels=16, feat_channels=16)
        roi = cfg.model.roi_head
        roi.bbox_head.update(in_channels=16, fc_out_channels=16)
        roi.mask_head.update(in_channels=16, conv_out_channels=16)
        for extractor in ("bbox_roi_extractor", "mask_roi_extractor"):
            roi[extractor].out_channels = 16
        cfg.model.test_cfg.rcnn.score_thr = 0.0
    elif "panoptic_head" in cfg.model:
        head = cfg.model.panoptic_head
        head.update(in_channels=tiny["dims"], num_queries=10)
        head.pixel_decoder.encoder.num_layers = head.transformer_decoder.num_layers = 1
    elif "bbox_head" in cfg.model:
        cfg.model.bbox_head.update(in_channels=16, feat_channels=16, stacked_convs=1)
        cfg.model.test_cfg.update(score_thr=0.0, max_per_img=20)
    for split in ("train", "val", "test"):
        cfg[f"{split}_dataloader"].update(num_workers=0, persistent_workers=False)
        if cfg.default_scope == "mmseg":
            cfg[f"{split}_dataloader"].dataset.img_suffix = ".png"
