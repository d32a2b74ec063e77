# The 1x schedule as PVT's authors ship it (whai362/PVT, detection/configs/retinanet_pvt_*_fpn_1x_coco.py): AdamW 1e-4, weight
# decay 1e-4, 12 epochs, steps at 8 and 11, 500 iterations of warm-up from 0.001 of the rate, no gradient clipping, 8 GPUs x 2
# images. A leaf gives batch size, rate and weight decay where its recipe has others.
# Deviation: they decay all parameters; here norms, position tables, layer scales and class tokens are left out.
train_cfg = dict(type="mmvit.EpochBasedTrainLoop", max_epochs=12, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1),
]
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-4, weight_decay=1e-4),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys=dict(
            pos_embed=dict(decay_mult=0.0),
            layer_scale=dict(decay_mult=0.0),
            cls_token=dict(decay_mult=0.0),
        ),
    ),
)

auto_scale_lr = dict(enable=False, base_batch_size=16)
