# ATSS (Zhang et al., arXiv 1912.02424). Names no backbone.
_base_ = "../atss_gfl.py"
model = dict(
    type="ATSS",
    bbox_head=dict(
        type="ATSSHead",
        bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0, 0.0, 0.0, 0.0], target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_cls=dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_centerness=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
    ),
)
