# Recipe: PVT's authors (whai362/PVT, segmentation/configs/sem_fpn/PVT). Contradiction: the paper has 1e-4, 80,000 iterations
# and batch 16; code over paper.
# Drop path: the authors' segmentation code (segmentation/pvt.py).
_base_ = ["_base_/heads/fpn.py", "_base_/datasets/ade20k.py", "_base_/schedules/fpn_40k.py", "_base_/runtime_segmentation.py"]
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(
        type="mmvit.PVT",
        arch="tiny",
        drop_path_rate=0.1,
        init_cfg=dict(type="Pretrained", checkpoint="https://github.com/whai362/PVT/releases/download/v2/pvt_tiny.pth"),
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
    decode_head=dict(num_classes=150),
)
train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(base_batch_size=32)
