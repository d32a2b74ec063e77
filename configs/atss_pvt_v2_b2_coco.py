# Recipe: PVTv2's authors (whai362/PVT, detection/configs/{atss,gfl}_pvt_v2_*_fpn_3x_mstrain_fp16.py).
# Drop path: the authors' detection code (detection/pvt_v2.py).
_base_ = [
    "_base_/heads/atss.py",
    "_base_/datasets/coco_detection_multiscale.py",
    "_base_/schedules/detection_3x.py",
    "_base_/runtime_detection.py",
]
model = dict(
    backbone=dict(
        type="mmvit.PVTv2",
        arch="b2",
        drop_path_rate=0.1,
        init_cfg=dict(type="Pretrained", checkpoint="https://github.com/whai362/PVT/releases/download/v2/pvt_v2_b2.pth"),
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
)
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(base_batch_size=16)
