"""Segmentation data: what it is (contract), where it comes from, how it is augmented and batched."""
