# Binary segmentation, as the school on PVTv2 trains it (Polyp-PVT, arXiv 2108.06932): images of 352 x 352 whatever their shape,
# scaled by 0.75, 1 or 1.25 (to multiples of 32). Masks are PNGs with 0 for background and 1 for foreground, 255 is ignored;
# `mmvit new FOLDER --task binary` makes them of masks with 0 and 255.
# Deviation: they train each batch at all three scales in turn; here each image is scaled, then cut or padded to 352 x 352.
dataset_type = "BaseSegDataset"
data_root = "data/binary"
backend_args = None
crop_size = (352, 352)
classes = ("background", "foreground")

train_pipeline = [
    dict(type="LoadImageFromFile", backend_args=backend_args),
    dict(type="LoadAnnotations", backend_args=backend_args),
    dict(type="RandomChoiceResize", scales=[(256, 256), (352, 352), (448, 448)], keep_ratio=False),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [  # annotations are loaded after Resize: the prediction is brought to their size
    dict(type="LoadImageFromFile", backend_args=backend_args),
    dict(type="Resize", scale=crop_size, keep_ratio=False),
    dict(type="LoadAnnotations", backend_args=backend_args),
    dict(type="PackSegInputs"),
]
tta_pipeline = [
    dict(type="LoadImageFromFile", backend_args=backend_args),
    dict(
        type="TestTimeAug",
        transforms=[
            [dict(type="Resize", scale=scale, keep_ratio=False) for scale in [(256, 256), (352, 352), (448, 448)]],
            [dict(type="RandomFlip", prob=0.0), dict(type="RandomFlip", prob=1.0)],
            [dict(type="LoadAnnotations", backend_args=backend_args)],
            [dict(type="PackSegInputs")],
        ],
    ),
]

train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path="images/train", seg_map_path="masks/train"),
        metainfo=dict(classes=classes),
        pipeline=train_pipeline,
        backend_args=backend_args,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path="images/val", seg_map_path="masks/val"),
        metainfo=dict(classes=classes),
        test_mode=True,
        pipeline=test_pipeline,
        backend_args=backend_args,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type="mmvit.BinaryMetric")
test_evaluator = val_evaluator
