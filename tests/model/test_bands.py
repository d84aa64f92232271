import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segprune.errors import ConfigError
from segprune.graph.trace import trace
from segprune.model.bands import for_bands
from segprune.model.contract import SegmentationNet
from segprune.model.wrapped import Wrapped
from tests.tiny import tiny_net
from tests.toys import Residual, conv_bn

MEAN, STD = (0.1, 0.2, 0.3, 0.4), (0.5, 0.25, 1.0, 2.0)


def test_each_new_band_has_the_mean_of_the_filters_and_brightness_keeps_its_answer() -> None:
    before, net = tiny_net(), for_bands(tiny_net(), MEAN, STD, (16, 16))
    old, new = (one.stem[0].weight.detach() for one in (before, net))
    assert new.shape[1] == 4
    assert torch.allclose(new, old.mean(1, keepdim=True).expand_as(new) * 3 / 4)
    gray = torch.rand(1, 1, 8, 8)
    expected = nn.functional.conv2d(gray.expand(1, 3, 8, 8), old, padding=1)
    assert torch.allclose(nn.functional.conv2d(gray.expand(1, 4, 8, 8), new, padding=1), expected, atol=1e-5)


def test_it_normalises_by_what_is_given_and_runs_and_can_be_traced() -> None:
    net = for_bands(tiny_net(), MEAN, STD, (16, 16)).eval()
    assert net.bands == 4
    image = torch.rand(2, 4, 16, 16)
    expected = (image - torch.tensor(MEAN).view(4, 1, 1)) / torch.tensor(STD).view(4, 1, 1)
    assert torch.allclose(net.normalise(image), expected)
    assert net(image).shape == (2, 4, 16, 16)
    assert [group.name for group in trace(net)] == [group.name for group in trace(tiny_net())]


def test_of_three_bands_only_the_normalisation_changes() -> None:
    net = for_bands(tiny_net(), MEAN[:3], STD[:3], (16, 16))
    assert torch.equal(net.stem[0].weight, tiny_net().stem[0].weight)
    assert net.mean.flatten().tolist() == pytest.approx(MEAN[:3])


def test_flags_and_hooks_are_as_before() -> None:
    net = tiny_net().train()
    net.inner.eval()
    for_bands(net, MEAN, STD, (16, 16))
    assert net.training
    assert not net.inner.training
    assert not any(module._forward_pre_hooks for module in net.modules())


class OfFour(Residual):
    """Made for four bands by whoever wrote it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(4, 6)


def test_a_network_made_for_the_bands_is_left_as_it_is() -> None:
    net = OfFour().eval()
    weights = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    image = torch.rand(2, 4, 16, 16)
    net = for_bands(net, MEAN, STD, (16, 16))
    assert all(torch.equal(tensor, weights[name]) for name, tensor in net.state_dict().items())
    assert net.bands == 4
    assert net(image).shape == (2, 4, 16, 16)


class Cascade(Residual):
    """A second stem reads a smaller image."""

    def __init__(self) -> None:
        super().__init__()
        self.small = conv_bn(3, 4)

    def forward(self, image: Tensor) -> Tensor:
        small = F.avg_pool2d(self.normalise(image), 2)
        return super().forward(image) + F.interpolate(self.small(small), scale_factor=2)


class OfTwo(Residual):
    """Neither for three bands nor for four."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(2, 6)


@pytest.mark.parametrize(("kind", "bands"), [(Cascade, 3), (OfTwo, 2)])
def test_a_network_that_still_does_not_run_is_refused_with_what_it_says(
    kind: type[SegmentationNet], bands: int
) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"^dataset\.bands is 4: {kind.__name__} does not run on such images \(Given groups=1.* "
        rf"to have {bands} channels, but got 4 channels instead\), .*'model\.args={{in_channels: 4}}'",
    ):
        for_bands(kind(), MEAN, STD, (16, 16))


def test_what_a_network_gives_is_judged_as_ever() -> None:
    net = Wrapped(nn.Conv2d(4, 3, 1), num_classes=2)
    with pytest.raises(ConfigError, match="logits for 3 classes, but the dataset has 2"):
        for_bands(net, MEAN, STD, (16, 16))


class Pooled(Residual):
    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(1)

    def forward(self, image: Tensor) -> Tensor:
        normal = self.normalise(image)
        return self.stem(normal).sum() + self.pool(normal).mean() + super().forward(image)


def test_a_network_that_reads_images_by_other_layers_too_is_refused() -> None:
    net: SegmentationNet = Pooled()
    with pytest.raises(ConfigError, match=r"Pooled does not run .* by plain convolutions alone"):
        for_bands(net, MEAN, STD, (16, 16))
