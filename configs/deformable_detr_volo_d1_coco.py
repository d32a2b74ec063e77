# No published recipe; ours: mmdet's for Deformable DETR.
# Drop path: ours, that of the authors' ImageNet training (README), which has none for d4 and d5: d3's.
_base_ = [
    "_base_/heads/deformable_detr.py",
    "_base_/datasets/coco_detection.py",
    "_base_/schedules/deformable_detr_50e.py",
    "_base_/runtime_detection.py",
]
model = dict(
    backbone=dict(
        type="mmvit.VOLO",
        arch="d1",
        drop_path_rate=0.1,
        out_indices=(1, 2, 3),
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://github.com/sail-sg/volo/releases/download/volo_1/d1_224_84.2.pth.tar",
        ),
    ),
    neck=dict(in_channels=[384, 384, 384]),
)
train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(base_batch_size=32)
