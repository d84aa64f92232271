from dataclasses import replace

import pytest
import torch
from torch import nn

from segprune.dataset.contract import Batch
from segprune.errors import ConfigError, TrainingError
from segprune.pruner.apoz import Apoz
from segprune.pruner.contract import Calibration
from tests.pruner.battery import PrunerBattery
from tests.pruner.surgery import conv_of, group_of, network_of, scores_of, traced, whole
from tests.toys import Plain, toy, toy_calibration


class TestApoz(PrunerBattery):
    paper_scope = "local"
    duplicates = "equal"

    @staticmethod
    def build() -> Apoz:
        return Apoz()


def identity(size: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(size, eps=0.0)


def calibration_of(*batches: list[list[tuple[float, ...]]]) -> Calibration:
    """Per batch the images, per image the maps of its channels, 2x2 px."""
    images = [torch.tensor(batch).unflatten(2, (2, 2)) for batch in batches]
    return replace(toy_calibration(count=0), batches=[Batch(image, torch.zeros(0)) for image in images])


def test_the_fraction_of_pixels_above_zero():
    image = [(1.0, -1.0, 0.0, 2.0), (-1.0, -2.0, 0.0, -3.0), (5.0, 1.0, 1.0, 1.0)]
    scores = Apoz()(network_of(identity(3)), [whole(3, "0")], calibration_of([image]))
    assert scores["0"].tolist() == [0.5, 0.0, 1.0]


def test_every_image_counts_alike_whatever_the_size_of_its_batch():
    # 1, then 0 and .5
    batches = [[(1.0,) * 4]], [[(-1.0,) * 4], [(1.0, 1.0, -1.0, -1.0)]]
    scores = Apoz()(network_of(identity(1)), [whole(1, "0")], calibration_of(*batches))
    assert scores["0"].tolist() == [0.5]


def test_the_mean_over_the_norms_of_a_stream():
    # the second norm turns the sign: .75 and .25 of the pixels, 1 and 0
    net = network_of(identity(2), identity(2))
    net.get_submodule("1").weight.data.fill_(-1.0)
    image = [(1.0, 1.0, 1.0, -1.0), (1.0, 1.0, 1.0, 1.0)]
    assert Apoz()(net, [whole(2, "0", "1")], calibration_of([image]))["0"].tolist() == [0.5, 0.5]
    assert Apoz()(net, [whole(2, "0")], calibration_of([image]))["0"].tolist() == [0.75, 1.0]


def test_without_a_norm_the_convolution_is_looked_at():
    # x and 1 - x
    net = network_of(conv_of([[1.0], [-1.0]]))
    net.get_submodule("0").bias = nn.Parameter(torch.tensor([0.0, 1.0]))
    scores = Apoz()(net, [whole(2, "0")], calibration_of([[(-1.0, 0.5, 1.0, 2.0)]]))
    assert scores["0"].tolist() == [0.75, 0.5]


def test_it_is_one_minus_the_zeros_behind_every_relu_even_in_place():
    net, calibration = toy(Plain), toy_calibration()
    zeros: list[torch.Tensor] = []
    with net.relu.register_forward_hook(lambda *args: zeros.append((args[2] == 0).double().mean((0, 2, 3)))):
        for batch in calibration.batches:
            net(batch.image)
    scores = Apoz()(net, traced(Plain), calibration)
    for index, layer in enumerate(("first.0", "second.0", "bare")):  # the order in which the ReLU runs
        group = group_of(traced(Plain), layer)
        torch.testing.assert_close(scores[group.name], 1 - (zeros[index] + zeros[3 + index]) / 2)


def test_it_needs_batches():
    with pytest.raises(ConfigError, match="0 batches; apoz needs some"):
        Apoz()(toy(Plain), traced(Plain), toy_calibration(count=0))


def test_a_group_that_never_runs_is_refused():
    net = network_of(nn.Conv2d(3, 2, 1))
    net.add_module("idle", conv_of([[1.0]]))
    with pytest.raises(
        ConfigError, match=r"pruner apoz: it cannot score idle \(no layer that runs .*=taylor"
    ):
        scores_of(Apoz(), net, whole(1, "idle"))


def test_a_map_that_is_not_finite_is_refused():
    net = toy(Plain)
    net.get_submodule("first.1").bias.data[2] = float("nan")
    with pytest.raises(TrainingError, match=r"layer first\.1: its feature maps are not finite.*lower"):
        scores_of(Apoz(), net, *traced(Plain))
