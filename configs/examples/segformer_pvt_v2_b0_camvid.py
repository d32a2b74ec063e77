# Street scenes (CamVid as in SegNet's repository, 367 pictures of 480 x 360 to train) from random weights on two CPU cores, as
# docs/results.md trains them: what `mmvit new data/camvid --arch pvt_v2_b0 --head segformer` writes for such a machine, with
# smaller crops of larger images, half the channels in the head, fewer iterations, and rare classes weighted. A start for small
# data with few pictures and no weights.
_base_ = [
    "../_base_/heads/segformer.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/upernet_160k.py",  # one rate for all: the tenfold rate of SegFormer's head is for trained backbones
    "../_base_/runtime_segmentation.py",
]
crop = (288, 288)
model = dict(
    data_preprocessor=dict(size=crop),
    backbone=dict(type="mmvit.PVTv2", arch="b0", drop_path_rate=0.1),
    decode_head=dict(
        in_channels=[32, 64, 160, 256],
        channels=128,  # a quarter of the multiply-adds of 256
        num_classes=11,
        # One over the square root of a class's share of the training pixels; the mean over all pixels is about 1.
        loss_decode=dict(class_weight=[0.9, 0.75, 3.6, 0.65, 1.7, 1.2, 3.3, 3.4, 1.5, 4.5, 6.0]),
    ),
)
scale = (720, 540)  # 1.5 times the pictures' own size: the maps have a quarter of its sides, and poles are few pixels wide
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=scale, ratio_range=(0.5, 1.5), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
resize = dict(type="Resize", scale=scale, keep_ratio=True)
test_pipeline = [resize if step["type"] == "Resize" else step for step in _base_.test_pipeline]
views = [dict(resize, scale=(scale[0] * f // 4, scale[1] * f // 4)) for f in (3, 4, 5)]  # of --tta
load, augment = _base_.tta_pipeline
tta_pipeline = [load, dict(augment, transforms=[views, *augment["transforms"][1:]])]
names = "sky building pole road pavement tree sign fence car pedestrian bicyclist"  # 0 to 10 in the label maps; 255 is none
colours = [
    (70, 130, 180), (128, 64, 64), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
    (192, 128, 128), (64, 64, 128), (64, 0, 128), (200, 60, 20), (0, 128, 192),
]  # fmt: skip
data = dict(_delete_=True, type="BaseSegDataset", data_root="data/camvid", img_suffix=".jpg", seg_map_suffix=".png")
data.update(metainfo=dict(classes=tuple(names.split()), palette=colours))
prefix = {split: dict(img_path=f"images/{split}", seg_map_path=f"labels/{split}") for split in ("train", "val", "test")}
train_dataloader = dict(batch_size=4, dataset=dict(data, data_prefix=prefix["train"], pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data, data_prefix=prefix["val"], pipeline=test_pipeline, test_mode=True))
test_dataloader = dict(dataset=dict(data, data_prefix=prefix["test"], pipeline=test_pipeline, test_mode=True))
train_cfg = dict(max_iters=4600, val_interval=460)  # 100 times all pictures in two processes of four pictures each
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=300),
    dict(type="PolyLR", power=0.9, eta_min=0.0, by_epoch=False, begin=300, end=4600),
]
default_hooks = dict(logger=dict(interval=50), checkpoint=dict(interval=460))
optim_wrapper = dict(optimizer=dict(lr=7e-4), clip_grad=dict(max_norm=10.0))  # random weights; the recipe's is for trained ones
auto_scale_lr = dict(base_batch_size=8)
