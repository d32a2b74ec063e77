# No published recipe; ours: mmsegmentation's for Mask2Former.
# Drop path: ours, that of the authors' ImageNet training (main.py).
_base_ = [
    "_base_/heads/mask2former_semantic.py",
    "_base_/datasets/ade20k.py",
    "_base_/schedules/mask2former_160k.py",
    "_base_/runtime_segmentation.py",
]
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(
        type="mmvit.T2TViT",
        arch="14",
        drop_path_rate=0.1,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://github.com/yitu-opensource/T2T-ViT/releases/download/main/81.5_T2T_ViT_14.pth.tar",
        ),
    ),
    decode_head=dict(in_channels=[384, 384, 384, 384], num_classes=150),
)
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(base_batch_size=16)
