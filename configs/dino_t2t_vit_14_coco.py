# No published recipe; ours: mmdet's for DINO.
# Drop path: ours, that of the authors' ImageNet training (main.py).
_base_ = [
    "_base_/heads/dino.py",
    "_base_/datasets/coco_detection.py",
    "_base_/schedules/detr_1x.py",
    "_base_/runtime_detection.py",
]
model = dict(
    backbone=dict(
        type="mmvit.T2TViT",
        arch="14",
        drop_path_rate=0.1,
        out_indices=(1, 2, 3),
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://github.com/yitu-opensource/T2T-ViT/releases/download/main/81.5_T2T_ViT_14.pth.tar",
        ),
    ),
    neck=dict(in_channels=[384, 384, 384]),
)
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(base_batch_size=16)
