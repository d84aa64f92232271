"""What the files of a finished result are called, for those that write them and for those that read them.

Those of a checkpoint are in ``checkpoint.contract``.
"""

CURVE = "curve.json"
"""Of a training: one object per epoch."""
SCORES = "scores.safetensors"
"""Of a criterion: layer -> (C,) scores."""
PLAN = "plan.json"
"""Of a cut: what was asked, reached and removed."""
ROWS = "rows.json"
"""Of an evaluation, as all that follow: one record per network."""
REPORT = "evaluation_report.json"
PER_CLASS = "per_class.csv"
IMAGE_COUNTS = "image_counts.safetensors"
"""Stage -> (N, K, K) confusion counts of each image."""
PREDICTIONS = "predictions.png"
ONNX = "model.onnx"
"""Of an export, as all that follow."""
PT2 = "model.pt2"
DEPLOYED = "deploy.json"
"""What the files are, take and give, and how nearly they predict what the network does."""
