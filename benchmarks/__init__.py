"""Measurements of the backbones against alternatives: textbook forms, timm, mmdet, mmseg, mmpretrain.

Reading order: `written_out` and `peers` (what is compared), `measure` (how), `report` (tables and plots), `cli` (options).
"""
