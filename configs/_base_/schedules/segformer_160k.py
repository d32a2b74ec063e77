# The SegFormer head as mmsegmentation trains it (configs/segformer): UperNet's schedule, the head at ten times the rate.
# Deviation: there the head's batch norms are decayed. mmengine applies the longest key that fits a name and no other rule,
# which is why the norms of the head are named one by one.
_base_ = "upernet_160k.py"

optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            "decode_head": dict(lr_mult=10.0),
            "decode_head.convs.0.bn": dict(lr_mult=10.0, decay_mult=0.0),
            "decode_head.convs.1.bn": dict(lr_mult=10.0, decay_mult=0.0),
            "decode_head.convs.2.bn": dict(lr_mult=10.0, decay_mult=0.0),
            "decode_head.convs.3.bn": dict(lr_mult=10.0, decay_mult=0.0),
            "decode_head.fusion_conv.bn": dict(lr_mult=10.0, decay_mult=0.0),
        }
    )
)
