# UperNet (Xiao et al., arXiv 1807.10221) on a pyramid of strides 4, 8, 16, 32, as VAN's authors have it: 512 channels, an
# auxiliary FCN of 256 channels and weight 0.4 on the third level. Names no backbone: a leaf gives model.backbone, the
# in_channels and num_classes of both heads, and the crop as data_preprocessor.size.
# Deviation: they have SyncBN, which needs several GPUs; there: --cfg-options model.decode_head.norm_cfg.type=SyncBN
# model.auxiliary_head.norm_cfg.type=SyncBN, and model.backbone.norm_cfg.type=SyncBN for the families with batch norms (VAN,
# VOLO, Shunted Transformer).
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        test_cfg=dict(size=(32, 32)),  # the backbones' least: narrower images are padded to it
    ),
    decode_head=dict(
        type="UPerHead",
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=512,
        dropout_ratio=0.1,
        norm_cfg=dict(type="BN", requires_grad=True),
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type="FCNHead",
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        norm_cfg=dict(type="BN", requires_grad=True),
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=0.4),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
