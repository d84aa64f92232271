from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segprune.dataset.contract import Batch
from segprune.errors import ConfigError, DataError, TrainingError
from segprune.graph.trace import trace
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration
from segprune.pruner.taylor import Taylor, taylor_scores
from tests.pruner.battery import PrunerBattery
from tests.pruner.surgery import conv_of, group_of, network_of, traced, whole
from tests.pruner.test_gates import NORMS
from tests.toys import (
    CLASSES,
    IGNORE,
    Concat,
    Depthwise,
    Normed,
    Plain,
    Residual,
    Upsampling,
    conv_bn,
    toy,
    toy_calibration,
    toy_loss,
)


class PreActivation(SegmentationNet):
    """A stream that everything reads through one norm behind the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.branch = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(3, 5, 1)
        self.norm, self.head = nn.BatchNorm2d(5), nn.Conv2d(5, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.normalise(image)
        return self.head(F.relu(self.norm(self.stem(x) + self.branch(x))))


class NormedBranch(SegmentationNet):
    """A stream that its branch reads through a norm and the sum reads as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.inner, self.outer = conv_bn(6, 4), nn.Conv2d(4, 6, 3, padding=1, bias=False)
        self.last, self.head = nn.BatchNorm2d(6), nn.Conv2d(6, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(self.normalise(image))
        x = x + self.outer(F.relu(self.inner(F.relu(self.norm(x)))))
        return self.head(F.relu(self.last(x)))


# Where one gate per branch belongs, by hand: such that everything that reads the channels reads them through
# one gate.
GATED = [
    (Plain, "first.0", ("first.1",)),
    (Plain, "second.0", ("second.1",)),
    (Plain, "bare", ("bare",)),
    (Residual, "stem.0", ("stem.1", "outer.1", "bare")),
    (Residual, "inner.0", ("inner.1",)),
    (Concat, "stem.0", ("stem.1",)),
    (Concat, "far.0", ("far.1",)),
    (Concat, "pooled.0", ("pooled.1",)),
    (Concat, "project.0", ("project.1",)),
    (Upsampling, "fine.0", ("fine.1",)),
    (Upsampling, "up.0", ("up.1",)),
    (Depthwise, "expand.0", ("depthwise.1",)),
    (PreActivation, "stem", ("norm",)),
    (NormedBranch, "stem", ("norm", "last")),
]


def in_double(calibration: Calibration) -> Calibration:
    batches = [Batch(batch.image.double(), batch.label) for batch in calibration.batches]
    return replace(calibration, batches=batches)


def calibration_of(loss: Callable[[SegmentationNet, Batch], Tensor]) -> Calibration:
    return replace(toy_calibration(count=1), loss=loss)


def gradient_of_gates(net: SegmentationNet, layers: tuple[str, ...], size: int, batch: Batch) -> Tensor:
    """(C,) derivative of the loss by factors of 1 on the outputs of the layers, the same for all of them."""
    gate = torch.ones(size, dtype=torch.float64, requires_grad=True)
    with ExitStack() as hooks:
        for layer in layers:
            hook = net.get_submodule(layer).register_forward_hook(lambda *args: args[2] * gate[:, None, None])
            hooks.enter_context(hook)
        return torch.autograd.grad(toy_loss(net, batch), gate)[0]


class TestTaylor(PrunerBattery):
    paper_scope = "global"
    duplicates = "no law"

    @staticmethod
    def build() -> Taylor:
        return Taylor(variant="gate")


class TestTaylorGamma(PrunerBattery):
    paper_scope = "global"
    duplicates = "no law"

    @staticmethod
    def build() -> Taylor:
        return Taylor(variant="gamma")


@pytest.mark.parametrize(("kind", "layer", "gated"), GATED)
def test_scores_are_the_squared_gradients_of_explicit_gates(kind, layer, gated):
    net, calibration = toy(kind).double(), in_double(toy_calibration(count=3))
    group = group_of(trace(net), layer)
    rows = [gradient_of_gates(net, gated, group.size, batch) for batch in calibration.batches]
    expected = torch.stack(rows).square().mean(0)
    scores = Taylor(variant="gate")(net, [group], calibration)[group.name]
    torch.testing.assert_close(scores, expected, rtol=1e-8, atol=1e-16)


@pytest.mark.parametrize("norm", NORMS)
def test_scores_are_also_those_of_norms_without_scale_or_running_statistics(norm):
    net, calibration = toy(partial(Normed, norm)).double(), in_double(toy_calibration())
    (group,) = trace(net)
    # the passing norm undoes a gate before it, but for its eps, unless it has running statistics
    gated = ("passing",) if net.passing.track_running_stats else ("norm", "passing")
    rows = [gradient_of_gates(net, gated, group.size, batch) for batch in calibration.batches]
    scores = Taylor(variant="gate")(net, [group], calibration)[group.name]
    assert scores.min() > 0
    torch.testing.assert_close(scores, torch.stack(rows).square().mean(0), rtol=1e-8, atol=1e-16)


def test_gamma_is_the_squared_product_of_scale_and_its_gradient():
    net, calibration = toy(Plain).double(), in_double(toy_calibration())
    scale = net.get_submodule("first.1").weight
    rows = [scale * torch.autograd.grad(toy_loss(net, batch), scale)[0] for batch in calibration.batches]
    expected = torch.stack(rows).detach().square().mean(0)
    group = group_of(traced(Plain), "first.0")
    torch.testing.assert_close(Taylor(variant="gamma")(net, [group], calibration)[group.name], expected)


def test_signs_of_batches_do_not_cancel_out():
    assert taylor_scores(torch.tensor([[1.0, 0.2], [-1.0, 0.2]])).tolist() == pytest.approx([1.0, 0.04])


def test_signs_of_the_branches_of_a_stream_do():
    # filters 2 and -3 with gradients 1 and 2: one gate on both has the derivative 2 - 6
    net = network_of(conv_of([[2.0, 0.0, 0.0]]), conv_of([[-3.0]]))
    calibration = calibration_of(
        lambda net, _: net.get_submodule("0").weight.sum() + 2 * net.get_submodule("1").weight.sum()
    )
    assert Taylor(variant="gate")(net, [whole(1, "0", "1")], calibration)["0"].tolist() == [16.0]


def test_the_quadratic_example():
    # loss (sum - 1)^2 / 2 of the scales .5, .3, .1, 0: every gradient is -.1, products -.05, -.03, -.01, 0
    net = network_of(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    net.get_submodule("1").weight.data = torch.tensor([0.5, 0.3, 0.1, 0.0])
    calibration = calibration_of(lambda net, _: 0.5 * (net.get_submodule("1").weight.sum() - 1) ** 2)
    for variant in ("gate", "gamma"):
        scores = Taylor(variant=variant)(net, [whole(4, "0", "1")], calibration)["0"]
        assert scores.tolist() == pytest.approx([2.5e-3, 9e-4, 1e-4, 0.0])


def test_a_channel_that_nobody_reads_scores_exactly_zero():
    net, group = toy(Plain), group_of(traced(Plain), "first.0")
    net.get_submodule("second.0").weight.data[:, 2] = 0.0
    score = Taylor(variant="gate")(net, [group], toy_calibration())[group.name]
    assert score[2] == 0
    assert (score[[0, 1, 3, 4, 5]] > 0).all()


def test_a_scale_that_the_next_layer_undoes_changes_nothing():
    net, group, factor = toy(Plain).double(), group_of(traced(Plain), "first.0"), 8.0
    calibration = in_double(toy_calibration())
    before = Taylor(variant="gate")(net, [group], calibration)[group.name]
    norm = net.get_submodule("first.1")
    for tensor in (norm.weight.data, norm.bias.data):
        tensor[1] *= factor
    net.get_submodule("second.0").weight.data[:, 1] /= factor
    after = Taylor(variant="gate")(net, [group], calibration)[group.name]
    torch.testing.assert_close(after, before, rtol=1e-9, atol=0)


def test_frozen_parameters_are_scored_too():
    net, groups = toy(Plain), traced(Plain)
    expected = Taylor(variant="gate")(net, groups, toy_calibration())
    net.requires_grad_(False)
    with torch.no_grad():
        found = Taylor(variant="gate")(net, groups, toy_calibration())
    for name, score in expected.items():
        assert torch.equal(found[name], score)


def test_it_needs_batches():
    with pytest.raises(ConfigError, match="0 batches; taylor needs some"):
        Taylor(variant="gate")(toy(Plain), traced(Plain), toy_calibration(count=0))


def test_a_batch_without_any_labelled_pixel_is_refused():
    calibration = toy_calibration()
    calibration.batches[1].label.fill_(IGNORE)
    with pytest.raises(DataError, match="calibration batch 1 is nan: no pixel of its labels has a class"):
        Taylor(variant="gate")(toy(Plain), traced(Plain), calibration)


@pytest.mark.parametrize(
    "loss", [lambda *_: torch.zeros(()), lambda net, _: net.get_submodule("head").bias.sum()]
)
def test_a_loss_that_does_not_depend_on_the_channels_is_refused(loss):
    with pytest.raises(DataError, match="all gradients of 1 calibration batches are 0"):
        Taylor(variant="gate")(toy(Plain), traced(Plain), calibration_of(loss))


def test_a_gradient_that_is_not_finite_is_refused():
    # the square root has an infinite slope at 0
    calibration = calibration_of(lambda net, _: (net.get_submodule("first.1").weight * 0).sum().sqrt())
    with pytest.raises(TrainingError, match=r"group first\.0: the score of channel 0 is nan"):
        Taylor(variant="gate")(toy(Plain), [group_of(traced(Plain), "first.0")], calibration)
