# No published recipe; ours: mmsegmentation's for Mask2Former.
# Drop path: ours, that of the authors' UperNet configs.
_base_ = [
    "_base_/heads/mask2former_semantic.py",
    "_base_/datasets/ade20k.py",
    "_base_/schedules/mask2former_160k.py",
    "_base_/runtime_segmentation.py",
]
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(
        type="mmvit.VAN",
        arch="b2",
        drop_path_rate=0.1,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://huggingface.co/Visual-Attention-Network/VAN-Base-original/resolve/main/van_base_828.pth.tar",
        ),
    ),
    decode_head=dict(in_channels=[64, 128, 320, 512], num_classes=150),
)
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(base_batch_size=16)
