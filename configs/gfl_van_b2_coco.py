# No published recipe; ours: PVTv2's for GFL.
# Drop path: ours, that of the authors' UperNet configs.
_base_ = [
    "_base_/heads/gfl.py",
    "_base_/datasets/coco_detection_multiscale.py",
    "_base_/schedules/detection_3x.py",
    "_base_/runtime_detection.py",
]
model = dict(
    backbone=dict(
        type="mmvit.VAN",
        arch="b2",
        drop_path_rate=0.1,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://huggingface.co/Visual-Attention-Network/VAN-Base-original/resolve/main/van_base_828.pth.tar",
        ),
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
)
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(base_batch_size=16)
