# No published recipe; ours: Polyp-PVT's, with another head.
# Drop path: the authors' detection code (detection/pvt_v2.py).
_base_ = [
    "_base_/heads/segformer.py",
    "_base_/datasets/binary.py",
    "_base_/schedules/binary_12k.py",
    "_base_/runtime_segmentation.py",
]
model = dict(
    data_preprocessor=dict(size=(352, 352)),
    backbone=dict(
        type="mmvit.PVTv2",
        arch="b2",
        drop_path_rate=0.1,
        init_cfg=dict(type="Pretrained", checkpoint="https://github.com/whai362/PVT/releases/download/v2/pvt_v2_b2.pth"),
    ),
    decode_head=dict(
        in_channels=[64, 128, 320, 512],
        num_classes=2,
        out_channels=1,
        threshold=0.5,
        loss_decode=dict(_delete_=True, type="mmvit.StructureLoss"),
    ),
)
train_dataloader = dict(batch_size=16)
auto_scale_lr = dict(base_batch_size=16)
