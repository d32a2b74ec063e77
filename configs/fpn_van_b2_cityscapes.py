# No published recipe; ours: the one of PVT's paper for Semantic FPN on ADE20K.
# Drop path: ours, that of the authors' UperNet configs.
_base_ = [
    "_base_/heads/fpn.py",
    "_base_/datasets/cityscapes.py",
    "_base_/schedules/fpn_80k.py",
    "_base_/runtime_segmentation.py",
]
model = dict(
    data_preprocessor=dict(size=(512, 1024)),
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
    decode_head=dict(num_classes=19),
)
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(base_batch_size=16)
