# Semantic FPN (Kirillov et al., arXiv 1901.02446) on a pyramid of strides 4, 8, 16, 32, with the options that the authors of
# PVT and VAN have from mmsegmentation's fpn_r50.py. Names no backbone: a leaf gives model.backbone, model.neck.in_channels,
# num_classes and the crop as data_preprocessor.size.
# Deviation: they have SyncBN, which needs several GPUs; there: --cfg-options model.decode_head.norm_cfg.type=SyncBN, and
# model.backbone.norm_cfg.type=SyncBN for the families with batch norms (VAN, VOLO, Shunted Transformer).
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
    neck=dict(type="FPN", out_channels=256, num_outs=4),
    decode_head=dict(
        type="FPNHead",
        in_channels=[256, 256, 256, 256],
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=128,
        dropout_ratio=0.1,
        norm_cfg=dict(type="BN", requires_grad=True),
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
