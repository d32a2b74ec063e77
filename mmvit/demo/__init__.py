"""Datasets and recipes to try everything without a download; see `mmvit.demo.dataset`."""

from .dataset import CLASSES, SEGMENTATION_CLASSES, DemoSpec, build

__all__ = ["CLASSES", "SEGMENTATION_CLASSES", "DemoSpec", "build"]
