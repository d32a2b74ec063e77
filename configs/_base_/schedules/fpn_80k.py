# Semantic FPN by PVT's paper: AdamW 1e-4, 80,000 iterations, batch 16; the rest as in the code.
_base_ = "fpn_40k.py"

train_cfg = dict(max_iters=80000, val_interval=8000)
param_scheduler = [dict(type="PolyLR", power=0.9, eta_min=0.0, by_epoch=False, begin=0, end=80000)]
optim_wrapper = dict(optimizer=dict(lr=1e-4))

auto_scale_lr = dict(base_batch_size=16)
