import torch
from torch import nn

from segprune.distill.look import Tap, look
from tests.toys import Plain, conv_bn, toy


def tap(layer: str, side: str, channels: list[int] | None = None) -> Tap:
    chosen = None if channels is None else torch.tensor(channels)
    return Tap(layer=layer, side=side, channels=chosen)  # type: ignore[arg-type]


def test_maps_are_what_layers_read_and_what_norms_make_before_an_activation_in_place() -> None:
    net, image = toy(Plain), torch.rand(2, 3, 8, 8)
    taps = {"a": tap("second.0", "in", [5, 0]), "b": tap("first.1", "out"), "c": tap("bare", "in")}
    heads, maps = look(net, net.all_logits, image, taps)
    made = net.first(net.normalise(image))
    read = made.relu()
    assert torch.allclose(heads[0], net(image))
    assert torch.allclose(maps["a"], read[:, [5, 0]])
    assert torch.allclose(maps["b"], made)
    assert made.min() < 0
    assert torch.allclose(maps["c"], net.second(read).relu())


def test_maps_have_gradients_and_hooks_do_not_stay() -> None:
    net = toy(Plain)
    _, maps = look(net, net.all_logits, torch.rand(1, 3, 8, 8), {"a": tap("second.0", "in")})
    maps["a"].sum().backward()
    assert net.first[0].weight.grad is not None
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


class NormAct(nn.BatchNorm2d):
    """A norm with an activation inside, as in timm."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.act = nn.ReLU(inplace=True)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.act(super().forward(maps))


def test_a_norm_with_an_activation_inside_gives_what_is_before_that() -> None:
    net = nn.Sequential(conv_bn(3, 4)[0], NormAct(4)).eval()
    image = torch.randn(1, 3, 8, 8)
    _, maps = look(net, lambda x: [net(x)], image, {"a": tap("1", "out")})
    assert maps["a"].min() < 0
    assert torch.allclose(maps["a"].relu(), net(image))


def test_maps_of_half_precision_become_float32() -> None:
    net = toy(Plain)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, maps = look(net, net.all_logits, torch.rand(1, 3, 8, 8), {"a": tap("second.0", "in")})
    assert maps["a"].dtype == torch.float32


def test_a_tap_moves_with_its_channels() -> None:
    assert tap("a", "in").on(torch.device("cpu")) == tap("a", "in")
    moved = tap("a", "in", [1]).on(torch.device("meta"))
    assert moved.channels is not None
    assert moved.channels.device.type == "meta"
