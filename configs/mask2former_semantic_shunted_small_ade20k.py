# No published recipe; ours: mmsegmentation's for Mask2Former.
# Drop path: ours, that of the paper's ImageNet training.
# Weights: download them by hand from https://drive.google.com/drive/folders/15iZKXFT7apjUSoN2WUMAbb0tvJgyh3YP to the path in
# init_cfg.
_base_ = [
    "_base_/heads/mask2former_semantic.py",
    "_base_/datasets/ade20k.py",
    "_base_/schedules/mask2former_160k.py",
    "_base_/runtime_segmentation.py",
]
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(
        type="mmvit.ShuntedTransformer",
        arch="small",
        drop_path_rate=0.2,
        init_cfg=dict(type="Pretrained", checkpoint="checkpoints/shunted_small.pth"),
    ),
    decode_head=dict(in_channels=[64, 128, 256, 512], num_classes=150),
)
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(base_batch_size=16)
