"""Channels that must be removed together, and cutting them. Only this room and the bench import torch_pruning."""
