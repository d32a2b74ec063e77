# GFL, generalized focal loss (Li et al., arXiv 2006.04388): the score of a box is its quality, and each of its sides a
# distribution of distances. Names no backbone.
_base_ = "../atss_gfl.py"
model = dict(
    type="GFL",
    bbox_head=dict(
        type="GFLHead",
        loss_cls=dict(type="QualityFocalLoss", use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_dfl=dict(type="DistributionFocalLoss", loss_weight=0.25),
        reg_max=16,
    ),
)
