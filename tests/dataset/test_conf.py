"""Every YAML of the group has exactly the keys of its callable, with values that the annotations accept."""

import importlib
import inspect
import typing
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from pydantic import ConfigDict, ValidationError, create_model

CONF = Path(__file__).parents[2] / "conf" / "dataset"
FILLED = {"root": "some/where", "seed": 0, "cache_dir": "cache", "classes": ["a", "b"]}


def loaded(name):
    node = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    module, _, function = node.pop("_target_").rpartition(".")
    return node, getattr(importlib.import_module(module), function)


def schema(function):
    hints = typing.get_type_hints(function, include_extras=True)
    names = list(inspect.signature(function).parameters)
    return create_model(
        "Arguments", __config__=ConfigDict(extra="forbid"), **{n: (hints[n], ...) for n in names}
    )


@pytest.mark.parametrize("name", ["streets", "camvid", "cityscapes", "torchvision", "folder"])
def test_keys_and_values_fit_the_callable(name):
    node, function = loaded(name)
    filled = node | {key: value for key, value in FILLED.items() if key in node}
    checked = schema(function).model_validate(filled)
    assert set(node) == set(inspect.signature(function).parameters)
    assert isinstance(checked.size_hw, tuple)
    assert all(
        parameter.default is inspect.Parameter.empty
        for parameter in inspect.signature(function).parameters.values()
    )


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("streets", "augment", {"crop_area": [0.4, 1.0], "flip": 0.5, "jiter": 0.2}),
        ("streets", "augment", {"crop_area": [0.4, 1.0], "flip": 1.5, "jitter": 0.2}),
        ("streets", "counts", {"fit": 0, "select": 0, "report": 1}),
        ("streets", "size_hw", [8, 8]),
        ("camvid", "report_split", "train"),
        ("cityscapes", "select_fraction", 1.0),
        ("cityscapes", "augment", {"scale": [0, 2.0], "flip": 0.5, "jitter": 0.2}),
        ("folder", "ignore_index", 256),
        ("folder", "fit", {"images": "x"}),
    ],
)
def test_values_out_of_range_are_refused(name, key, value):
    node, function = loaded(name)
    filled = node | {key: value for key, value in FILLED.items() if key in node} | {key: value}
    with pytest.raises(ValidationError, match=key):
        schema(function).model_validate(filled)
