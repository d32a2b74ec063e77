# Binary segmentation as Polyp-PVT's authors train it (DengPingFan/Polyp-PVT, Train.py): AdamW 1e-4, weight decay 1e-4, batch 16
# on one GPU, gradients cut at 0.5.
# Deviation: they train 100 epochs of 1,450 images (9,100 iterations), with a tenth of the rate after 50; here 12,000 iterations
# with polynomial decay. They decay all parameters; here norms, position tables, layer scales and class tokens are left out.
train_cfg = dict(type="mmvit.IterBasedTrainLoop", max_iters=12000, val_interval=1000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

param_scheduler = [dict(type="PolyLR", power=0.9, eta_min=0.0, by_epoch=False, begin=0, end=12000)]
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-4, weight_decay=1e-4),
    clip_grad=dict(type="value", clip_value=0.5),
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
