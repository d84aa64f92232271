from typing import Any

import pytest
import torch

from segprune.errors import ConfigError
from segprune.model.torchvision_named import torchvision

REST: dict[str, Any] = {
    "weights": "none", "aux": True, "mean": "imagenet", "std": "imagenet", "checkpoint": None, "allow": [],
    "num_classes": 3,
}  # fmt: skip


def test_a_name_makes_a_network_whose_auxiliary_head_only_trains() -> None:
    net = torchvision(**{**REST, "name": "deeplabv3_mobilenet_v3_large"}).eval()
    with torch.no_grad():
        shapes = [logits.shape for logits in net.all_logits(torch.rand(1, 3, 32, 48))]
    assert shapes == [(1, 3, 32, 48)] * 2
    assert net.only_trains("net.aux_classifier.0.weight")


def test_a_network_without_such_a_head_has_none() -> None:
    net = torchvision(**{**REST, "name": "lraspp_mobilenet_v3_large"})
    assert net.training_only == ()
    with pytest.raises(ConfigError, match=r"model\.name is 'resnet18'; it must be one of deeplabv3_"):
        torchvision(**{**REST, "name": "resnet18"})
