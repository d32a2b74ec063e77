# Semantic FPN as the authors of PVT and of VAN ship it (whai362/PVT, segmentation/configs/sem_fpn/PVT; VAN-Segmentation,
# configs/sem_fpn): AdamW 2e-4, weight decay 1e-4, polynomial decay of power 0.9 to 0, no warm-up, 40,000 iterations, 8 GPUs x
# 4 images, evaluation every 4,000.
# Contradiction: PVT's paper has 1e-4, 80,000 iterations and batch 16 (fpn_80k.py); code over paper, its results are higher.
# Deviation: they decay all parameters; here norms, position tables, layer scales and class tokens are left out.
train_cfg = dict(type="mmvit.IterBasedTrainLoop", max_iters=40000, val_interval=4000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

param_scheduler = [dict(type="PolyLR", power=0.9, eta_min=0.0, by_epoch=False, begin=0, end=40000)]
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=2e-4, weight_decay=1e-4),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys=dict(
            pos_embed=dict(decay_mult=0.0),
            layer_scale=dict(decay_mult=0.0),
            cls_token=dict(decay_mult=0.0),
        ),
    ),
)

auto_scale_lr = dict(enable=False, base_batch_size=32)
