# UperNet as VAN's authors ship it (VAN-Segmentation, configs/upernet/1k_pretrained), which is the common recipe of Swin: AdamW
# 6e-5, weight decay 0.01 but not on norms, 1,500 iterations of warm-up from 1e-6 of the rate, then polynomial decay of power 1
# to 0, 160,000 iterations, 8 GPUs x 2 images, evaluation every 16,000.
# Deviation: they decay layer scales and the batch norms of the heads, too; here neither, nor position tables and class tokens.
train_cfg = dict(type="mmvit.IterBasedTrainLoop", max_iters=160000, val_interval=16000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type="PolyLR", power=1.0, eta_min=0.0, by_epoch=False, begin=1500, end=160000),
]
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
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
