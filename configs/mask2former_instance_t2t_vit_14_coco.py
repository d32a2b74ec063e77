# No published recipe; ours: mmdet's for Mask2Former, without its large-scale jitter.
# Drop path: ours, that of the authors' ImageNet training (main.py).
_base_ = [
    "_base_/heads/mask2former_instance.py",
    "_base_/datasets/coco_instance.py",
    "_base_/schedules/mask2former_50e.py",
    "_base_/runtime_detection.py",
]
model = dict(
    backbone=dict(
        type="mmvit.T2TViT",
        arch="14",
        drop_path_rate=0.1,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://github.com/yitu-opensource/T2T-ViT/releases/download/main/81.5_T2T_ViT_14.pth.tar",
        ),
    ),
    panoptic_head=dict(in_channels=[384, 384, 384, 384]),
)
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(base_batch_size=16)
