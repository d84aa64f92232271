from typing import Any

import pytest
import torch
from torch import nn

from segprune.errors import ConfigError
from segprune.model.module import made, module
from segprune.model.wrapped import Wrapped
from tests.toys import Plain

HERE = "tests.model.test_module"
REST: dict[str, Any] = {
    "args": None, "out": None, "aux": None, "training_only": [], "mean": "imagenet", "std": "imagenet",
    "checkpoint": None, "allow": [], "classes_as": "classes", "num_classes": 3,
}  # fmt: skip


def build(classes, width=4):  # without types, as most factories are
    return nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, classes, 1))


def ready() -> Plain:
    return Plain()


def lazy(classes: int) -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Conv2d(4, classes, 1))


def scripted(classes: int) -> nn.Module:
    net: nn.Module = torch.jit.script(build(classes))
    return net


def scripted_part(classes: int) -> nn.Module:
    return nn.Sequential(build(4), scripted(4), nn.Conv2d(4, classes, 1))


def traced_part(classes: int) -> nn.Module:
    return nn.Sequential(torch.jit.trace(build(classes), torch.rand(1, 3, 8, 8)))


def compiled(classes: int) -> nn.Module:
    net: nn.Module = torch.compile(build(classes))
    return net


def compiled_part(classes: int) -> nn.Module:
    net = build(classes)
    net[0].compile()
    return net


def bare(classes: int) -> nn.Module:
    return nn.ReLU()


def broken(classes: int) -> dict[int, int]:
    return {classes: 1}


def test_a_factory_makes_the_network_for_as_many_classes_as_there_are() -> None:
    net = module(**{**REST, "factory": f"{HERE}:build", "args": {"width": 6}})
    assert isinstance(net, Wrapped)
    assert (net.net[0].out_channels, net.net[2].out_channels) == (6, 3)


def test_a_network_of_this_program_is_taken_as_it_is() -> None:
    assert isinstance(module(**{**REST, "factory": f"{HERE}:ready", "classes_as": None}), Plain)


@pytest.mark.filterwarnings("ignore:.torch.jit.:")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factory": "nowhere"}, r"model\.factory is 'nowhere'; give package\.module:name"),
        ({"factory": "tests.nowhere:x"}, r"cannot be imported: ModuleNotFoundError"),
        ({"factory": f"{HERE}:HERE"}, r"which is a str and makes nothing"),
        (
            {"factory": f"{HERE}:lazy"},
            r"in which 0\.weight, 0\.bias, 1\.weight and so on have no shape yet\. Run it",
        ),
        (
            {"factory": f"{HERE}:scripted"},
            r"gives a network in TorchScript: .* Let it give the module as it was",
        ),
        ({"factory": f"{HERE}:scripted_part"}, r"gives a network with 1 in TorchScript"),
        ({"factory": f"{HERE}:traced_part"}, r"gives a network with 0 in TorchScript"),
        ({"factory": f"{HERE}:compiled"}, r"gives a network compiled by torch\.compile.*train\.compile=true"),
        ({"factory": f"{HERE}:compiled_part"}, r"gives a network with 0 compiled by torch\.compile"),
        ({"factory": f"{HERE}:bare"}, r"gives a network without parameters"),
        ({"factory": f"{HERE}:broken"}, r"gives an object of the kind dict, which is no torch\.nn\.Module"),
        (
            {"factory": f"{HERE}:build", "args": {"depth": 2}},
            r"cannot be made with depth=2, classes=3 \(TypeError",
        ),
        (
            {"factory": f"{HERE}:build", "classes_as": "num"},
            r"num=3.*model\.classes_as, which names the argument",
        ),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        module(**{**REST, **changes})


def test_weights_that_cannot_be_had_are_told_in_one_paragraph_and_what_cannot_be_made_with_its_own_keys() -> (
    None
):
    def offline() -> None:
        raise OSError("no way\nto the hub")

    with pytest.raises(ConfigError, match="imagenet") as told:
        made("Net", offline, {}, weights="imagenet")
    assert str(told.value) == (
        "model.weights is imagenet, which cannot be loaded (OSError: no way to the hub). Without a network, give "
        "model.weights=none or model.checkpoint."
    )
    with pytest.raises(
        ConfigError, match=r"Net cannot be made with  \(OSError: .*\)\. Change model\.name\.$"
    ):
        made("Net", offline, {}, keys="model.name")
