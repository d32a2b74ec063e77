# No published recipe; ours: PVTv2's for ATSS.
# Drop path: ours, that of the paper's ImageNet training.
# Weights: download them by hand from https://drive.google.com/drive/folders/15iZKXFT7apjUSoN2WUMAbb0tvJgyh3YP to the path in
# init_cfg.
_base_ = [
    "_base_/heads/atss.py",
    "_base_/datasets/coco_detection_multiscale.py",
    "_base_/schedules/detection_3x.py",
    "_base_/runtime_detection.py",
]
model = dict(
    backbone=dict(
        type="mmvit.ShuntedTransformer",
        arch="small",
        drop_path_rate=0.2,
        init_cfg=dict(type="Pretrained", checkpoint="checkpoints/shunted_small.pth"),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(base_batch_size=16)
