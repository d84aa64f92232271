"""What the files of a checkpoint are called."""

WEIGHTS, DESCRIPTION = "weights.safetensors", "net.json"
