"""Losses that neither mmdet nor mmseg has."""
