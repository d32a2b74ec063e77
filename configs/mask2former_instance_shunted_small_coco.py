# No published recipe; ours: mmdet's for Mask2Former, without its large-scale jitter.
# Drop path: ours, that of the paper's ImageNet training.
# Weights: download them by hand from https://drive.google.com/drive/folders/15iZKXFT7apjUSoN2WUMAbb0tvJgyh3YP to the path in
# init_cfg.
_base_ = [
    "_base_/heads/mask2former_instance.py",
    "_base_/datasets/coco_instance.py",
    "_base_/schedules/mask2former_50e.py",
    "_base_/runtime_detection.py",
]
model = dict(
    backbone=dict(
        type="mmvit.ShuntedTransformer",
        arch="small",
        drop_path_rate=0.2,
        init_cfg=dict(type="Pretrained", checkpoint="checkpoints/shunted_small.pth"),
    ),
    panoptic_head=dict(in_channels=[64, 128, 256, 512]),
)
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(base_batch_size=16)
