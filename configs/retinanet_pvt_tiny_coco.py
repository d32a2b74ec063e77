# Recipe: PVT's authors (whai362/PVT, detection/configs/retinanet_pvt_*_fpn_1x_coco.py); paper and code agree.
# Drop path: the authors' detection code (detection/pvt.py).
_base_ = [
    "_base_/heads/retinanet.py",
    "_base_/datasets/coco_detection.py",
    "_base_/schedules/detection_1x.py",
    "_base_/runtime_detection.py",
]
model = dict(
    backbone=dict(
        type="mmvit.PVT",
        arch="tiny",
        drop_path_rate=0.1,
        init_cfg=dict(type="Pretrained", checkpoint="https://github.com/whai362/PVT/releases/download/v2/pvt_tiny.pth"),
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
)
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(base_batch_size=16)
