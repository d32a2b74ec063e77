# The head of SegFormer (Xie et al., arXiv 2105.15203) on a pyramid of strides 4, 8, 16, 32, with the options of
# mmsegmentation's segformer_mit-b0.py. Names no backbone: a leaf gives model.backbone, model.decode_head.in_channels,
# num_classes and the crop as data_preprocessor.size.
# Deviation: there it has SyncBN, which needs several GPUs; with them: --cfg-options model.decode_head.norm_cfg.type=SyncBN, and
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
    decode_head=dict(
        type="SegformerHead",
        in_index=[0, 1, 2, 3],
        channels=256,
        dropout_ratio=0.1,
        norm_cfg=dict(type="BN", requires_grad=True),
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
