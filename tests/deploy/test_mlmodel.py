import json

import yaml

from segprune.deploy.mlmodel import mlmodel


def test_it_is_the_format_of_mlflow() -> None:
    found = yaml.safe_load(mlmodel("model.onnx", bands=3, bits=8))
    assert found["flavors"]["python_function"]["data"] == "model.onnx"
    (given,) = json.loads(found["signature"]["inputs"])
    assert given == {"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, -1, -1, 3]}}


def test_images_are_those_of_the_network() -> None:
    found = yaml.safe_load(mlmodel("model.onnx", bands=5, bits=16))
    (given,) = json.loads(found["signature"]["inputs"])
    assert given["tensor-spec"] == {"dtype": "uint16", "shape": [-1, -1, -1, 5]}
