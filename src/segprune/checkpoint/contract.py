"""What the files of a checkpoint are called."""

WEIGHTS, DESCRIPTION = "weights.safetensors", "net.json"
ANCESTRY = "ancestry.json"
"""Beside the two: which dense network it was made of, and how; a checkpoint can be read without it."""
