# No published recipe; ours: PVT's for Semantic FPN.
# Drop path: ours, that of the authors' ImageNet training (main.py).
_base_ = ["_base_/heads/fpn.py", "_base_/datasets/ade20k.py", "_base_/schedules/fpn_40k.py", "_base_/runtime_segmentation.py"]
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
    neck=dict(in_channels=[384, 384, 384, 384]),
    decode_head=dict(num_classes=150),
)
train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(base_batch_size=32)
