# Recipe: VAN's authors (VAN-Segmentation, configs/upernet/1k_pretrained).
# Drop path: the same config.
_base_ = [
    "_base_/heads/upernet.py",
    "_base_/datasets/ade20k.py",
    "_base_/schedules/upernet_160k.py",
    "_base_/runtime_segmentation.py",
]
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(
        type="mmvit.VAN",
        arch="b0",
        drop_path_rate=0.1,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://huggingface.co/Visual-Attention-Network/VAN-Tiny-original/resolve/main/van_tiny_754.pth.tar",
        ),
    ),
    decode_head=dict(in_channels=[32, 64, 160, 256], num_classes=150),
    auxiliary_head=dict(in_channels=160, num_classes=150),
)
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(base_batch_size=16)
