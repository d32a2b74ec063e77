"""Configs of small trainings: a detector, the same sharded, and a segmenter."""

from pathlib import Path

from small_datasets import write_noise_coco, write_noise_maps

SIZES = """
dims = [8, 16, 24, 32]
arch = dict(_delete_=True, depths=[1, 1, 2, 1], dims=dims, heads=[1, 2, 3, 4], mlp_ratios=[2] * 4, reductions=[8, 4, 2, 1])
backbone = dict(arch=arch, drop_path_rate=0.0, init_cfg=None)
loader = dict(batch_size=1, num_workers=0, persistent_workers=False)
randomness = dict(seed=0)
"""
DETECTOR = (
    '_base_ = "mmvit::retinanet_pvt_tiny_coco.py"'
    + SIZES
    + """
model = dict(
    backbone=backbone,
    neck=dict(in_channels=dims, out_channels=16),
    bbox_head=dict(in_channels=16, feat_channels=16, stacked_convs=1),
    test_cfg=dict(score_thr=0.0),
)
load = [dict(type="mmvit.LoadImage"), dict(type="LoadAnnotations", with_bbox=True)]
flip = dict(type="RandomFlip", prob=0.5)
meta = dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"))
scale = dict(type="Resize", scale=(96, 64), keep_ratio=True)
train_dataloader = dict(
    **loader,
    sampler=dict(_delete_=True, type="InfiniteSampler", shuffle=False),
    batch_sampler=None,
    dataset=dict(pipeline=[*load, scale, flip, dict(type="PackDetInputs")]),
)
val_dataloader = test_dataloader = dict(**loader, dataset=dict(pipeline=[load[0], scale, load[1], meta]))
train_cfg = dict(_delete_=True, type="mmvit.IterBasedTrainLoop", max_iters=4, val_interval=2)
optim_wrapper = dict(
    optimizer=dict(lr=0.01),
    constructor="mmvit.LayerDecay",
    paramwise_cfg=dict(decay_rate=0.9),
    clip_grad=dict(max_norm=0.5),
)
param_scheduler = [dict(type="LinearLR", start_factor=0.5, end_factor=0.8, by_epoch=False, begin=0, end=4)]
checkpoint = dict(_delete_=True, type="mmvit.CheckpointHook", by_epoch=False, interval=2, save_best="coco/bbox_mAP")
default_hooks = dict(checkpoint=checkpoint, logger=dict(interval=1))
log_processor = dict(by_epoch=False)
"""
)
SHARDED = """
_base_ = "detector.py"
runner_type = "mmvit.FSDPRunner"
"""
SEGMENTER = (
    '_base_ = "mmvit::fpn_pvt_tiny_ade20k.py"'
    + SIZES
    + """
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=backbone,
    neck=dict(in_channels=dims, out_channels=16),
    decode_head=dict(in_channels=[16] * 4, channels=16, num_classes=3, norm_cfg=dict(type="SyncBN")),
)
dataset = dict(
    _delete_=True,
    type="BaseSegDataset",
    data_root="data/seg",
    data_prefix=dict(img_path="images", seg_map_path="maps"),
    img_suffix=".png",
    seg_map_suffix=".png",
    metainfo=dict(classes=("ground", "plant", "sky")),
    pipeline=[dict(type="mmvit.LoadImage"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")],
)
train_dataloader = dict(**loader, dataset=dataset)
val_dataloader = test_dataloader = dict(**loader, dataset=dict(test_mode=True, **dataset))
"""
)


def write_jobs(folder: Path, images: int) -> None:
    """The configs, and so many images of noise for each."""
    write_noise_coco(folder / "data" / "coco", images)
    write_noise_maps(folder / "data" / "seg", images)
    for name, text in dict(detector=DETECTOR, sharded=SHARDED, segmenter=SEGMENTER).items():
        (folder / f"{name}.py").write_text(text)
