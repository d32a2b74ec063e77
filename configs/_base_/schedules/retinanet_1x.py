# The 1x schedule of RetinaNet as PVT's authors ship it (whai362/PVT, detection/configs/retinanet_pvt_*_fpn_1x_coco.py):
# AdamW 1e-4, weight decay 1e-4 on all parameters, 12 epochs, steps at 8 and 11, 500 iterations of warm-up from 0.001 of the
# rate, no gradient clipping, 8 GPUs x 2 images. Paper and code agree.
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=12, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1),
]
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-4, weight_decay=1e-4))

auto_scale_lr = dict(enable=False, base_batch_size=16)
