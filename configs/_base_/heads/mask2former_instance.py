# Mask2Former (Cheng et al., arXiv 2112.01527) for instances on a pyramid of strides 4, 8, 16, 32, with the options of mmdet's
# mask2former_r50_8xb2-lsj-50e_coco.py. Names no backbone: a leaf gives model.backbone and model.panoptic_head.in_channels.
_base_ = "../mask2former.py"
model = dict(
    type="Mask2Former",
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_mask=True,
        mask_pad_value=0,
        pad_size_divisor=32,
    ),
    panoptic_head=dict(
        _base_.mask2former,
        num_things_classes=80,
        num_stuff_classes=0,
        loss_cls=dict(_base_.mask2former.loss_cls, class_weight=[1.0] * 80 + [0.1]),
    ),
    panoptic_fusion_head=dict(type="MaskFormerFusionHead", num_things_classes=80, num_stuff_classes=0, loss_panoptic=None),
    train_cfg=_base_.mask2former_training,
    test_cfg=dict(
        panoptic_on=False,
        semantic_on=False,
        instance_on=True,
        max_per_image=100,
        iou_thr=0.8,
        filter_low_score=True,
    ),
)
tta_model = dict(type="mmvit.InstanceTTAModel", tta_cfg=dict(nms=dict(type="nms", iou_threshold=0.5), max_per_img=100))
