"""Networks on disk: weights in safetensors, everything else in JSON."""
