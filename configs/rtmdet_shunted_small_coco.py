# No published recipe; ours: PVT's for RetinaNet, without RTMDet's 300 epochs of mosaics and mixed images.
# Drop path: ours, that of the paper's ImageNet training.
# Weights: download them by hand from https://drive.google.com/drive/folders/15iZKXFT7apjUSoN2WUMAbb0tvJgyh3YP to the path in
# init_cfg.
_base_ = [
    "_base_/heads/rtmdet.py",
    "_base_/datasets/coco_detection.py",
    "_base_/schedules/rtmdet_1x.py",
    "_base_/runtime_detection.py",
]
model = dict(
    backbone=dict(
        type="mmvit.ShuntedTransformer",
        arch="small",
        drop_path_rate=0.2,
        out_indices=(1, 2, 3),
        init_cfg=dict(type="Pretrained", checkpoint="checkpoints/shunted_small.pth"),
    ),
    neck=dict(in_channels=[128, 256, 512]),
)
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(base_batch_size=16)
