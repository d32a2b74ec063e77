"""Measures the backbones against what a user could pick instead: textbook forms, timm, mmdet, mmseg, mmpretrain.

Reading order: `written_out` and `peers` (what is compared), `measure` (how), `report` (tables and plots), `cli` (the words).
"""
