# No published recipe; ours: mmdet's for Mask2Former, without its large-scale jitter.
# Drop path: ours, that of the authors' ImageNet training (README), which has none for d4 and d5: d3's.
_base_ = [
    "_base_/heads/mask2former_instance.py",
    "_base_/datasets/coco_instance.py",
    "_base_/schedules/mask2former_50e.py",
    "_base_/runtime_detection.py",
]
model = dict(
    backbone=dict(
        type="mmvit.VOLO",
        arch="d1",
        drop_path_rate=0.1,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://github.com/sail-sg/volo/releases/download/volo_1/d1_224_84.2.pth.tar",
        ),
    ),
    panoptic_head=dict(in_channels=[192, 384, 384, 384]),
)
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(base_batch_size=16)
