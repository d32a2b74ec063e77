# No published recipe, except that VOLO's authors say sliding-window test; ours: VAN's for UperNet, windows and stride of
# mmsegmentation's ConvNeXt configs.
# Drop path: ours, that of the authors' ImageNet training (README), which has none for d4 and d5: d3's.
_base_ = [
    "_base_/heads/upernet.py",
    "_base_/datasets/ade20k.py",
    "_base_/schedules/upernet_160k.py",
    "_base_/runtime_segmentation.py",
]
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(
        type="mmvit.VOLO",
        arch="d5",
        drop_path_rate=0.5,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://github.com/sail-sg/volo/releases/download/volo_1/d5_224_86.10.pth.tar",
        ),
    ),
    decode_head=dict(in_channels=[384, 768, 768, 768], num_classes=150),
    auxiliary_head=dict(in_channels=768, num_classes=150),
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341)),
)
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(base_batch_size=16)
