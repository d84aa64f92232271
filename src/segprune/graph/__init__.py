"""Channel groups: which channels live and die together, and cutting them. The only door to torch_pruning."""
