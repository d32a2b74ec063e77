# No published recipe; ours: PVTv2's for GFL.
# Drop path: ours, that of the authors' ImageNet training (README), which has none for d4 and d5: d3's.
# The map of stride 4 is left out: the head does not use it, so that its tap would get no gradient.
_base_ = [
    "_base_/heads/gfl.py",
    "_base_/datasets/coco_detection_multiscale.py",
    "_base_/schedules/detection_3x.py",
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
    neck=dict(in_channels=[384, 384, 384], start_level=0),
)
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(base_batch_size=16)
