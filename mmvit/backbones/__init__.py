"""The families, one file each."""

from .pvt import PVT
from .pvt_v2 import PVTv2
from .shunted import ShuntedTransformer
from .t2t import T2TViT
from .van import VAN
from .volo import VOLO

__all__ = ["PVT", "VAN", "VOLO", "PVTv2", "ShuntedTransformer", "T2TViT"]
