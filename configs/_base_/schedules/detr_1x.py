# The 1x schedule of mmdet's DINO (dino-4scale_r50_8xb2-12e_coco.py): AdamW 1e-4, weight decay 1e-4, a tenth of the rate for the
# backbone, gradients clipped to 0.1, 12 epochs, a step at 11, 8 GPUs x 2 images. Batches are resized to 1333 x 800, where mmdet
# crops and resizes to random sizes. Norms of the backbone are decayed, as there: mmengine applies the key that fits a name and
# no other rule.
_base_ = "detection_1x.py"

param_scheduler = [dict(type="MultiStepLR", begin=0, end=12, by_epoch=True, milestones=[11], gamma=0.1)]
optim_wrapper = dict(
    clip_grad=dict(max_norm=0.1, norm_type=2),
    paramwise_cfg=dict(
        custom_keys=dict(
            backbone=dict(lr_mult=0.1),
            pos_embed=dict(lr_mult=0.1, decay_mult=0.0),
            layer_scale=dict(lr_mult=0.1, decay_mult=0.0),
            cls_token=dict(lr_mult=0.1, decay_mult=0.0),
        )
    ),
)
