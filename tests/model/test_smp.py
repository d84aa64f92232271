import sys
from typing import Any

import pytest
import torch

from segprune.errors import ConfigError
from segprune.model.smp import smp

REST: dict[str, Any] = {
    "encoder": "resnet18", "weights": "none", "args": None, "mean": "imagenet", "std": "imagenet",
    "checkpoint": None, "allow": [], "num_classes": 3,
}  # fmt: skip


def test_an_architecture_and_an_encoder_make_a_network() -> None:
    pytest.importorskip("segmentation_models_pytorch")
    net = smp(**{**REST, "arch": "FPN"}).eval()
    with torch.no_grad():
        assert net(torch.rand(1, 3, 64, 96)).shape == (1, 3, 64, 96)
    with pytest.raises(ConfigError, match=r"model\.arch is 'Nunet'; it must be one of Unet, UnetPlusPlus"):
        smp(**{**REST, "arch": "Nunet"})
    with pytest.raises(ConfigError, match=r"Unet on nothing18 cannot be made"):
        smp(**{**REST, "arch": "Unet", "encoder": "nothing18"})


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(ConfigError, match=r"pip install 'segprune\[smp\]'"):
        smp(**{**REST, "arch": "Unet"})
