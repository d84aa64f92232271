import json

import yaml

from segprune.deploy.mlmodel import mlmodel


def test_it_is_the_format_of_mlflow() -> None:
    found = yaml.safe_load(mlmodel("model.onnx"))
    assert found["flavors"]["python_function"]["data"] == "model.onnx"
    (given,) = json.loads(found["signature"]["inputs"])
    assert given == {"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, -1, -1, 3]}}
