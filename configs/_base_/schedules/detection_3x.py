# The 3x schedule of PVTv2's authors (whai362/PVT, detection/configs/atss_pvt_v2_*_fpn_3x_mstrain_fp16.py): AdamW 1e-4, weight
# decay 0.05 but for norms, 36 epochs, steps at 27 and 33, warm-up as in the 1x schedule, 8 GPUs x 2 images.
# Deviation: they train in float16, by apex; give --amp for that.
_base_ = "detection_1x.py"

train_cfg = dict(max_epochs=36)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", begin=0, end=36, by_epoch=True, milestones=[27, 33], gamma=0.1),
]
optim_wrapper = dict(optimizer=dict(weight_decay=0.05))
