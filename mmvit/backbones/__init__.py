"""The families, one file each."""

from .pvt import PVT
from .pvt_v2 import PVTv2
from .van import VAN

__all__ = ["PVT", "VAN", "PVTv2"]
