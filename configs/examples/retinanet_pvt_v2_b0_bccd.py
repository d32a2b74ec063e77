# Blood cells (BCCD, 205 pictures to train) from random weights on two CPU cores within an hour, as docs/results.md trains
# them: what `mmvit new data/bccd --arch pvt_v2_b0` writes for such a machine, with larger images, flips in all directions and
# fewer epochs. A start for small data; `mmvit new` also writes the annotation files that this config reads.
_base_ = [
    "../_base_/heads/retinanet.py",
    "../_base_/datasets/coco_detection.py",
    "../_base_/schedules/detection_1x.py",
    "../_base_/runtime_detection.py",
]
norm = dict(type="GN", num_groups=32)  # what has no trained weights needs norms, in neck and head (arXiv 1811.08883)
model = dict(
    backbone=dict(type="mmvit.PVTv2", arch="b0", drop_path_rate=0.1),
    neck=dict(in_channels=[32, 64, 160, 256], out_channels=128, norm_cfg=norm),
    bbox_head=dict(
        num_classes=3,
        in_channels=128,  # with it a step takes a third of the time of 256 channels and four convolutions
        feat_channels=128,
        stacked_convs=2,
        norm_cfg=norm,
        anchor_generator=dict(octave_base_scale=3),  # platelets are typically 30 pixels
    ),
)
scale = (480, 360)  # three quarters of 640 x 480
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomResize", scale=scale, ratio_range=(0.8, 1.25), keep_ratio=True),
    dict(type="RandomFlip", prob=[0.25] * 3, direction=["horizontal", "vertical", "diagonal"]),  # a microscope has no up
    dict(type="PackDetInputs"),
]
test_pipeline = [dict(step, scale=scale) if step["type"] == "Resize" else step for step in _base_.test_pipeline]
resize = dict(type="Resize", scale=scale, keep_ratio=True)
views = [dict(resize, scale=(scale[0] * f // 4, scale[1] * f // 4)) for f in (3, 4, 5)]  # of --tta
load, augment = _base_.tta_pipeline
tta_pipeline = [load, dict(augment, transforms=[views, *augment["transforms"][1:]])]
data = dict(data_root="", data_prefix=dict(img="data/bccd/"), metainfo=dict(classes=("Platelets", "RBC", "WBC")))
files = {split: f"projects/bccd/annotations/{split}.json" for split in ("train", "val", "test")}
train_dataloader = dict(batch_size=4, dataset=dict(data, ann_file=files["train"], pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data, ann_file=files["val"], pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(data, ann_file=files["test"], pipeline=test_pipeline))
val_evaluator, test_evaluator = dict(ann_file=files["val"]), dict(ann_file=files["test"])
train_cfg = dict(max_epochs=28, val_interval=4)  # 52 iterations an epoch
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=72),
    dict(type="CosineAnnealingLR", T_max=28, eta_min_ratio=0.01, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=26), checkpoint=dict(interval=4))
optim_wrapper = dict(optimizer=dict(lr=5e-4), clip_grad=dict(max_norm=10.0))  # random weights; the recipe's is for trained ones
auto_scale_lr = dict(base_batch_size=4)
