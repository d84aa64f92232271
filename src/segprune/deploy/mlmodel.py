"""The file that makes a folder with an exported file a model of MLflow."""

import json
import platform
from importlib.metadata import version

MLMODEL = "MLmodel"
LOADER = "segprune.predict.served"
"""The module that MLflow asks for what predicts; nothing is unpickled."""


def mlmodel(file: str, *, bands: int, bits: int) -> str:
    """Its text: YAML in MLflow's own format, of the flavour ``python_function``.

    Images go in as whole numbers (N, H, W, C); class ids come out as (N, H, W).

    Args:
        file: Name of the exported file beside it.
        bands: C.
        bits: Of the numbers, 8 or 16.
    """
    inputs = [_tensor(f"uint{bits}", [-1, -1, -1, bands])]
    outputs = [_tensor("int64", [-1, -1, -1])]
    flavour = {"loader_module": LOADER, "data": file, "python_version": platform.python_version()}
    return "\n".join(
        [
            "flavors:",
            f"  python_function: {json.dumps(flavour)}",
            f"mlflow_version: {version('mlflow')}",
            "signature:",
            f"  inputs: {json.dumps(json.dumps(inputs))}",
            f"  outputs: {json.dumps(json.dumps(outputs))}",
            "",
        ]
    )


def _tensor(dtype: str, shape: list[int]) -> dict[str, object]:
    return {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}}
