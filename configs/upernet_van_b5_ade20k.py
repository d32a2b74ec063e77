# Recipe: VAN's authors (VAN-Segmentation, configs/upernet/22k_pretrained).
# Drop path: the same config.
# Weights: download them by hand from https://cloud.tsinghua.edu.cn/d/0100f0cea37d41ba8d08/ to the path in init_cfg.
_base_ = [
    "_base_/heads/upernet.py",
    "_base_/datasets/ade20k.py",
    "_base_/schedules/upernet_160k.py",
    "_base_/runtime_segmentation.py",
]
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(
        type="mmvit.VAN",
        arch="b5",
        drop_path_rate=0.4,
        init_cfg=dict(type="Pretrained", checkpoint="checkpoints/van_b5.pth"),
    ),
    decode_head=dict(in_channels=[96, 192, 480, 768], num_classes=150),
    auxiliary_head=dict(in_channels=480, num_classes=150),
)
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(base_batch_size=16)
