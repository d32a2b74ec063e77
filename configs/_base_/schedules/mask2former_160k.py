# The schedule of mmsegmentation's Mask2Former (mask2former_r50_8xb2-160k_ade20k-512x512.py): AdamW 1e-4, weight decay 0.05, a
# tenth of the rate for the backbone, gradients clipped to 0.01, polynomial decay of power 0.9, 160,000 iterations, 8 GPUs x 2
# images. Norms of the backbone are decayed, as there: mmengine applies the key that fits a name and no other rule.
_base_ = "upernet_160k.py"

param_scheduler = [dict(type="PolyLR", power=0.9, eta_min=0.0, by_epoch=False, begin=0, end=160000)]
optim_wrapper = dict(
    optimizer=dict(lr=1e-4, weight_decay=0.05),
    clip_grad=dict(max_norm=0.01, norm_type=2),
    paramwise_cfg=dict(
        custom_keys=dict(
            backbone=dict(lr_mult=0.1),
            pos_embed=dict(lr_mult=0.1, decay_mult=0.0),
            layer_scale=dict(lr_mult=0.1, decay_mult=0.0),
            cls_token=dict(lr_mult=0.1, decay_mult=0.0),
            query_embed=dict(decay_mult=0.0),
            query_feat=dict(decay_mult=0.0),
            level_embed=dict(decay_mult=0.0),
        )
    ),
)
