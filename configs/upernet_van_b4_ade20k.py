# Recipe: VAN's authors (VAN-Segmentation, configs/upernet/1k_pretrained): 8 GPUs x 4 images, where the others have 2.
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
        arch="b4",
        drop_path_rate=0.4,
        init_cfg=dict(type="Pretrained", checkpoint="checkpoints/van_b4.pth"),
    ),
    decode_head=dict(in_channels=[64, 128, 320, 512], num_classes=150),
    auxiliary_head=dict(in_channels=320, num_classes=150),
)
train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(base_batch_size=32)
