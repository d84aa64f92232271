from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from segprune.dataset.contract import Batch
from segprune.errors import ConfigError, DataError, TrainingError
from segprune.graph.trace import trace
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration
from segprune.pruner.fisher import Fisher
from tests.pruner.battery import PrunerBattery
from tests.pruner.surgery import conv_of, group_of, network_of, traced, whole
from tests.toys import IGNORE, Depthwise, Plain, toy, toy_calibration, toy_loss


class TestFisher(PrunerBattery):
    paper_scope = "global"
    duplicates = "no law"

    @staticmethod
    def build() -> Fisher:
        return Fisher()


def summed_output(net: SegmentationNet, batch: Batch) -> Tensor:
    return net(batch.image).sum()


def calibration_of(
    *images: tuple[float, ...], loss: Callable[[SegmentationNet, Batch], Tensor] = summed_output
) -> Calibration:
    """One batch of one-pixel images of one channel per tuple."""
    batches = [
        Batch(torch.tensor(values).view(-1, 1, 1, 1), torch.zeros(len(values), 1, 1, dtype=torch.int64))
        for values in images
    ]
    return Calibration(batches=batches, loss=loss, device=torch.device("cpu"), seed=0)


def test_gradients_are_squared_image_by_image():
    # output 2 x, gradients 1 and 3: 1/2 * 4 * (1 + 9) / 2, in one batch or in two
    net = network_of(conv_of([[2.0]]))
    for calibration in (calibration_of((1.0, 3.0)), calibration_of((3.0,), (1.0,))):
        assert Fisher()(net, [whole(1, "0")], calibration)["0"].tolist() == [10.0]


def test_parameters_of_a_channel_add_up_with_their_biases():
    # filters 1 and -4, biases 3, image 2: gradients 2 and 1, 1/2 * (w^2 * 4 + 9)
    net = network_of(conv_of([[1.0], [-4.0]], bias=3.0))
    assert Fisher()(net, [whole(2, "0")], calibration_of((2.0,)))["0"].tolist() == [6.5, 36.5]


def test_biases_of_a_transposed_convolution_count_too():
    # weight 3, bias 2, image 1: both gradients 1, 1/2 * (9 + 4)
    layer = nn.ConvTranspose2d(1, 1, 1)
    nn.init.constant_(layer.weight, 3.0)
    nn.init.constant_(layer.bias, 2.0)
    assert Fisher()(network_of(layer), [whole(1, "0")], calibration_of((1.0,)))["0"].tolist() == [6.5]


def test_layers_of_a_group_add_up():
    # output 5 * 2 x: gradients 5 and 2, 1/2 * (2^2 * 5^2 + 5^2 * 2^2)
    net = network_of(conv_of([[2.0]]), conv_of([[5.0]]))
    assert Fisher()(net, [whole(1, "0", "1")], calibration_of((1.0,)))["0"].tolist() == [100.0]


@pytest.mark.parametrize(
    ("kind", "layer", "carriers"),
    [
        (Plain, "first.0", ("first.0", "first.1")),
        (Depthwise, "expand.0", ("expand.0", "expand.1", "depthwise.0", "depthwise.1")),
    ],
)
def test_every_parameter_that_makes_or_passes_on_the_channel_counts(kind, layer, carriers):
    net, group = toy(kind), group_of(traced(kind), layer)
    expected = torch.zeros(group.size)
    parameters = [p for name in carriers for p in net.get_submodule(name).parameters()]
    calibration = toy_calibration()
    images = [
        Batch(i[None], y[None]) for b in calibration.batches for i, y in zip(b.image, b.label, strict=True)
    ]
    for image in images:
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(toy_loss(net, image), parameters), strict=True
        ):
            expected += (parameter * gradient).detach().square().flatten(1 if gradient.dim() > 1 else 0).view(
                group.size, -1
            ).sum(1) / (2 * len(images))
    scores = Fisher()(net, [group], calibration)[group.name]
    torch.testing.assert_close(scores.float(), expected, rtol=1e-4, atol=1e-8)


def test_frozen_parameters_are_scored_too():
    net, groups = toy(Plain), traced(Plain)
    expected = Fisher()(net, groups, toy_calibration())
    net.requires_grad_(False)
    with torch.no_grad():
        found = Fisher()(net, groups, toy_calibration())
    for name, score in expected.items():
        assert torch.equal(found[name], score)


def test_it_needs_batches():
    with pytest.raises(ConfigError, match="0 batches; fisher needs some"):
        Fisher()(toy(Plain), traced(Plain), toy_calibration(count=0))


def test_an_image_whose_loss_is_not_finite_is_refused():
    calibration = toy_calibration()
    calibration.batches[1].label[1].fill_(IGNORE)
    with pytest.raises(DataError, match="an image of calibration batch 1 is nan: no pixel of its label has"):
        Fisher()(toy(Plain), traced(Plain), calibration)


@pytest.mark.parametrize(
    "loss", [lambda *_: torch.zeros(()), lambda net, _: net.get_submodule("head").bias.sum()]
)
def test_a_loss_that_does_not_depend_on_the_channels_is_refused(loss):
    calibration = replace(toy_calibration(count=1), loss=loss)
    with pytest.raises(DataError, match="all gradients of 1 calibration batches are 0"):
        Fisher()(toy(Plain), trace(toy(Plain)), calibration)


def test_a_gradient_that_is_not_finite_is_refused():
    # the square root has an infinite slope at 0
    loss = lambda net, _: (net.get_submodule("first.1").weight * 0).sum().sqrt()  # noqa: E731
    with pytest.raises(TrainingError, match=r"group first\.0: the score of channel 0 is nan"):
        Fisher()(
            toy(Plain), [group_of(traced(Plain), "first.0")], replace(toy_calibration(count=1), loss=loss)
        )
