"""The families, one file each."""

from .pvt import PVT

__all__ = ["PVT"]
