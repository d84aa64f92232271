"""Optimiser, learning rate and epochs: shared by train and finetune."""
