# Recipe: VAN's paper, AdamW 1e-4, weight decay 0.05, batch 16, 1x. The detection code was never released.
# Drop path: ours, that of the authors' UperNet configs.
_base_ = [
    "_base_/heads/mask_rcnn.py",
    "_base_/datasets/coco_instance.py",
    "_base_/schedules/detection_1x.py",
    "_base_/runtime_detection.py",
]
model = dict(
    backbone=dict(
        type="mmvit.VAN",
        arch="b0",
        drop_path_rate=0.1,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://huggingface.co/Visual-Attention-Network/VAN-Tiny-original/resolve/main/van_tiny_754.pth.tar",
        ),
    ),
    neck=dict(in_channels=[32, 64, 160, 256]),
)
train_dataloader = dict(batch_size=2)
optim_wrapper = dict(optimizer=dict(lr=1e-4, weight_decay=0.05))
auto_scale_lr = dict(base_batch_size=16)
