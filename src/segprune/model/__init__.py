"""Segmentation networks: one builder per architecture."""
