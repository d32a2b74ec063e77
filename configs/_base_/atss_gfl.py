# What ATSS and GFL share, as the authors of PVTv2 train them (whai362/PVT,
# detection/configs/{atss,gfl}_pvt_v2_*_fpn_3x_mstrain_fp16.py): a pyramid of strides 4, 8, 16, 32, of which the neck takes 8,
# 16, 32; one anchor a place, and ATSS's assignment. Names no backbone: a leaf gives model.backbone and model.neck.in_channels.
model = dict(
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    neck=dict(type="FPN", out_channels=256, start_level=1, add_extra_convs="on_output", num_outs=5),
    bbox_head=dict(
        num_classes=80,
        in_channels=256,
        stacked_convs=4,
        feat_channels=256,
        anchor_generator=dict(
            type="AnchorGenerator", ratios=[1.0], octave_base_scale=8, scales_per_octave=1, strides=[8, 16, 32, 64, 128]
        ),
        loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
    ),
    train_cfg=dict(assigner=dict(type="ATSSAssigner", topk=9), allowed_border=-1, pos_weight=-1, debug=False),
    test_cfg=dict(nms_pre=1000, min_bbox_size=0, score_thr=0.05, nms=dict(type="nms", iou_threshold=0.6), max_per_img=100),
)
tta_model = dict(type="DetTTAModel", tta_cfg=dict(nms=dict(type="nms", iou_threshold=0.6), max_per_img=100))
