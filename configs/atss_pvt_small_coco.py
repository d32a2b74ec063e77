# No published recipe; ours: PVTv2's for ATSS.
# Drop path: the authors' segmentation code (segmentation/pvt.py).
_base_ = [
    "_base_/heads/atss.py",
    "_base_/datasets/coco_detection_multiscale.py",
    "_base_/schedules/detection_3x.py",
    "_base_/runtime_detection.py",
]
model = dict(
    backbone=dict(
        type="mmvit.PVT",
        arch="small",
        drop_path_rate=0.1,
        init_cfg=dict(type="Pretrained", checkpoint="https://github.com/whai362/PVT/releases/download/v2/pvt_small.pth"),
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
)
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(base_batch_size=16)
