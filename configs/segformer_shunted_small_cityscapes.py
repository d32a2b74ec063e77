# No published recipe; ours: mmsegmentation's for SegFormer with MiT, 8 GPUs x 1 image, sliding-window test.
# Drop path: ours, that of the paper's ImageNet training.
# Weights: download them by hand from https://drive.google.com/drive/folders/15iZKXFT7apjUSoN2WUMAbb0tvJgyh3YP to the path in
# init_cfg.
_base_ = [
    "_base_/heads/segformer.py",
    "_base_/datasets/cityscapes_1024x1024.py",
    "_base_/schedules/segformer_160k.py",
    "_base_/runtime_segmentation.py",
]
model = dict(
    data_preprocessor=dict(size=(1024, 1024)),
    backbone=dict(
        type="mmvit.ShuntedTransformer",
        arch="small",
        drop_path_rate=0.2,
        init_cfg=dict(type="Pretrained", checkpoint="checkpoints/shunted_small.pth"),
    ),
    decode_head=dict(in_channels=[64, 128, 256, 512], num_classes=19),
    test_cfg=dict(mode="slide", crop_size=(1024, 1024), stride=(768, 768)),
)
train_dataloader = dict(batch_size=1)
auto_scale_lr = dict(base_batch_size=8)
