# Mask2Former (Cheng et al., arXiv 2112.01527) for semantic segmentation on a pyramid of strides 4, 8, 16, 32, with the options
# of mmsegmentation's mask2former_r50_8xb2-160k_ade20k-512x512.py; its parts are mmdet's. Names no backbone: a leaf gives
# model.backbone and model.decode_head.in_channels.
_base_ = "../mask2former.py"
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        test_cfg=dict(size_divisor=32),
    ),
    decode_head=dict(
        _base_.mask2former,
        num_classes=150,
        align_corners=False,
        loss_cls=dict(_base_.mask2former.loss_cls, class_weight=[1.0] * 150 + [0.1]),
        train_cfg=_base_.mask2former_training,
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
