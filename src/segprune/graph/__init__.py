"""Channels that must be removed together, and cutting them. The only importer of torch_pruning."""
