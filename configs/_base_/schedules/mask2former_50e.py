# The schedule of mmdet's Mask2Former (mask2former_r50_8xb2-lsj-50e_coco.py), in epochs: as detr_1x.py with weight decay 0.05,
# 50 epochs, steps at 44 and 48 (8/9 and 26/27 of 368,750 iterations there), gradients clipped to 0.01.
_base_ = "detr_1x.py"

train_cfg = dict(max_epochs=50)
param_scheduler = [dict(type="MultiStepLR", begin=0, end=50, by_epoch=True, milestones=[44, 48], gamma=0.1)]
optim_wrapper = dict(
    optimizer=dict(weight_decay=0.05),
    clip_grad=dict(max_norm=0.01, norm_type=2),
    paramwise_cfg=dict(
        custom_keys=dict(
            query_embed=dict(decay_mult=0.0),
            query_feat=dict(decay_mult=0.0),
            level_embed=dict(decay_mult=0.0),
        )
    ),
)
