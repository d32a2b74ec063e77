# The schedule of mmdet's Deformable DETR (deformable-detr_r50_16xb2-50e_coco.py): as detr_1x.py with 2e-4, 50 epochs, a step at
# 40, batches of 32, and a tenth of the rate for sampling offsets and reference points.
_base_ = "detr_1x.py"

train_cfg = dict(max_epochs=50)
param_scheduler = [dict(type="MultiStepLR", begin=0, end=50, by_epoch=True, milestones=[40], gamma=0.1)]
optim_wrapper = dict(
    optimizer=dict(lr=2e-4),
    paramwise_cfg=dict(custom_keys=dict(sampling_offsets=dict(lr_mult=0.1), reference_points=dict(lr_mult=0.1))),
)
auto_scale_lr = dict(base_batch_size=32)
