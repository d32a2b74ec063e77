# Recipe: VAN's authors (VAN-Segmentation, configs/sem_fpn).
# Drop path: the same configs; b5 and b6, which have none, as with UperNet.
_base_ = ["_base_/heads/fpn.py", "_base_/datasets/ade20k.py", "_base_/schedules/fpn_40k.py", "_base_/runtime_segmentation.py"]
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(
        type="mmvit.VAN",
        arch="b2",
        drop_path_rate=0.2,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://huggingface.co/Visual-Attention-Network/VAN-Base-original/resolve/main/van_base_828.pth.tar",
        ),
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
    decode_head=dict(num_classes=150),
)
train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(base_batch_size=32)
