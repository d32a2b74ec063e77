# No published recipe; ours: mmdet's for Deformable DETR.
# Drop path: the authors' segmentation code (segmentation/pvt.py).
_base_ = [
    "_base_/heads/deformable_detr.py",
    "_base_/datasets/coco_detection.py",
    "_base_/schedules/deformable_detr_50e.py",
    "_base_/runtime_detection.py",
]
model = dict(
    backbone=dict(
        type="mmvit.PVT",
        arch="small",
        drop_path_rate=0.1,
        out_indices=(1, 2, 3),
        init_cfg=dict(type="Pretrained", checkpoint="https://github.com/whai362/PVT/releases/download/v2/pvt_small.pth"),
    ),
    neck=dict(in_channels=[128, 320, 512]),
)
train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(base_batch_size=32)
