_base_ = [
    "_base_/heads/retinanet.py",
    "_base_/datasets/coco_detection.py",
    "_base_/schedules/retinanet_1x.py",
    "_base_/runtime_detection.py",
]
model = dict(
    backbone=dict(
        type="mmvit.PVT",
        arch="tiny",
        drop_path_rate=0.1,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://github.com/whai362/PVT/releases/download/v2/pvt_tiny.pth",
        ),
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
)
