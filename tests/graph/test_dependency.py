from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segprune.errors import ConfigError
from segprune.graph import dependency
from segprune.graph.build import View
from segprune.graph.cut import cut, mask_error
from segprune.graph.dependency import TRACE_SIZE_HW, operations, sight, structure
from segprune.graph.trace import followed
from segprune.model.contract import SegmentationNet
from segprune.model.wrapped import Wrapped
from tests.foreign_nets import FOREIGN_NETS, Foreign, Recurrent, Tied
from tests.model.test_wrapped import TrainsMore
from tests.toys import Plain, Residual


class HiddenHead(Plain):
    """Trains a head that its trace does not run."""

    def __init__(self) -> None:
        super().__init__()
        self.extra = nn.Conv2d(4, 4, 1)

    def all_logits(self, image: Tensor) -> tuple[Tensor, ...]:
        logits = self(image)
        return logits, self.extra(logits)

    def traced_logits(self, image: Tensor) -> tuple[Tensor, ...]:
        return (self(image),)


def test_a_layer_that_runs_untraced_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"HiddenHead runs layers that its traced_logits does not reach: extra"
    ):
        sight(HiddenHead())


class WithoutGradients(Plain):
    """Runs its first layer without gradients."""

    def forward(self, image: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.first(self.normalise(image))
        return self.head(self.bare(self.second(x)))


def test_layers_that_run_without_gradients_are_refused_with_what_mends_it() -> None:
    with pytest.raises(
        ConfigError, match=r"reach: first\.0, first\.1\..* none of them within torch\.no_grad"
    ):
        sight(WithoutGradients())


class ComplexFirst(Plain):
    """Its first parameter is complex; images are not."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = nn.Parameter(torch.randn(1, 6, 1, 1, dtype=torch.cfloat))

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(self.normalise(image))
        x = torch.fft.irfft2(torch.fft.rfft2(x) * self.turn, s=x.shape[-2:])
        return self.head(self.bare(self.second(x)))


def test_a_network_with_complex_parameters_is_followed() -> None:
    net = ComplexFirst()
    groups = followed(net).groups
    assert [group.name for group in groups] == ["second.0", "bare"]
    plan = {"second.0": (0, 2), "bare": (1,)}
    assert mask_error(net, cut(net, plan), groups, plan) < 1e-13


def test_heads_that_only_training_runs_lose_inputs_where_they_are_named() -> None:
    net = Wrapped(TrainsMore(), num_classes=3, aux=1, training_only=("aux",)).eval()
    (group,) = followed(net).groups
    assert {(member.layer, member.axis) for member in group.members} >= {
        ("net.body.0", "out"),
        ("net.head", "in"),
        ("net.aux.0", "in"),
    }
    plan = {"net.body.0": (0, 2)}
    assert mask_error(net, cut(net, plan), [group], plan) < 1e-13
    with pytest.raises(ConfigError, match=r"net\.aux\.0, net\.aux\.1\. .*'model\.training_only=\[aux\]'"):
        followed(Wrapped(TrainsMore(), num_classes=3, aux=1))


TURN = {"by": 0}


class ReadsGlobal(Plain):
    """Turns its channels round by what a global says."""

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(self.normalise(image)))))
        return self.head(F.relu(self.bare(x.roll(TURN["by"], 1))))


def test_what_was_found_is_not_taken_for_a_network_that_a_global_makes_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = ReadsGlobal()
    assert {group.name for group in followed(before).groups} == {"first.0", "second.0", "bare"}
    assert structure(before) == structure(ReadsGlobal())
    monkeypatch.setitem(TURN, "by", 2)
    assert structure(ReadsGlobal()) != structure(before)
    assert {group.name for group in followed(ReadsGlobal()).groups} == {"first.0", "bare"}


class ThrownAway(Plain):
    """Runs a layer whose output nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.aside = nn.Conv2d(5, 7, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(self.normalise(image)))))
        self.aside(x)
        return self.head(F.relu(self.bare(x)))


def test_a_layer_whose_output_nobody_reads_stays_whole_and_loses_its_inputs() -> None:
    found = followed(ThrownAway())
    assert [(group.name, group.size) for group in found.groups] == [
        ("first.0", 6),
        ("second.0", 5),
        ("bare", 4),
    ]
    assert [(one.layer, one.channels) for one in found.whole] == [("aside", 7)]


class Larger(Residual):
    """Runs a layer only on images of more than 100 px."""

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.stem(self.normalise(image)))
        if image.shape[-1] > 100:
            x = F.relu(x + self.outer(F.relu(self.inner(x))))
        return self.head(F.relu(x + self.bare(x)))


class Deep(Residual):
    """Needs more than 64 px."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(F.interpolate(F.avg_pool2d(image, 96), size=image.shape[-2:]))


def sized(net: SegmentationNet, size_hw: tuple[int, int]) -> SegmentationNet:
    net.image_hw = size_hw
    return net


def test_channels_are_followed_at_a_size_where_the_network_runs_as_on_its_images() -> None:
    assert sight(Residual()).view.size_hw == TRACE_SIZE_HW
    assert sight(sized(Residual(), (96, 128))).view.size_hw == TRACE_SIZE_HW
    assert sight(sized(Larger(), (96, 96))).view.size_hw == TRACE_SIZE_HW
    assert sight(sized(Larger(), (96, 160))).view.size_hw == (128, 128)
    assert sight(sized(Deep(), (192, 192))).view.size_hw == (128, 128)
    assert {group.name for group in followed(sized(Larger(), (96, 160))).groups} == {"stem.0", "inner.0"}


def test_operations_are_those_that_run() -> None:
    image = torch.rand(1, 3, 16, 16)
    assert operations(Larger(), image) != operations(Larger(), torch.rand(1, 3, 16, 128))
    assert operations(Plain(), image).count("conv2d") == 4


@pytest.mark.parametrize("kind", FOREIGN_NETS, ids=lambda kind: kind.__name__)
def test_what_cannot_be_followed_stays_whole_and_the_rest_can_be_cut(kind: type[Foreign]) -> None:
    found = followed(kind())
    assert {group.name for group in found.groups} == kind.cuttable
    assert bool(found.whole) == (not kind.cuttable >= Foreign.cuttable)
    assert all(one.reason for one in found.whole)


def test_closed_parts_are_as_small_as_can_be_and_have_a_reason() -> None:
    assert sight(Recurrent()).reasons == {"over": "a recurrent layer"}
    assert sight(Tied()).view.closed == ("middle.0", "again")


class Block(nn.Module):
    """A layer in a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.layer(x))


class Nested(Plain):
    """Parts within parts."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(4, 4, 1)), Block(), nn.Conv2d(4, 4, 1), Block()])

    def forward(self, image: Tensor) -> Tensor:
        x = self.bare(F.relu(self.second(F.relu(self.first(self.normalise(image))))))
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def test_of_parts_within_parts_only_those_at_fault_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    real, built = dependency.build, []

    @contextmanager
    def failing(net: SegmentationNet, view: View) -> Iterator[object]:
        """As if torch-pruning failed at the forward of one block and at a layer of another."""
        built.append(view)
        if "blocks.1" not in view.closed or not view.hides("blocks.3.layer"):
            raise KeyError("unknown")
        with real(net, view) as found:
            yield found

    monkeypatch.setattr(dependency, "build", failing)
    found = sight(Nested())
    assert found.view.closed == ("blocks.1", "blocks.3.layer")
    assert found.reasons == dict.fromkeys(found.view.closed, "KeyError 'unknown'")
    assert len(built) < dependency.MOST_BUILDS


def test_a_fault_outside_of_all_layers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def failing(net: SegmentationNet, view: View) -> Iterator[object]:
        raise KeyError("torch")
        yield

    class Lost(Plain):
        pass

    monkeypatch.setattr(dependency, "build", failing)
    with pytest.raises(
        ConfigError, match=r"channels of Lost cannot be followed: KeyError 'torch'\. .*own for"
    ):
        sight(Lost())


class Told(Plain):
    """What its forward does is told by attributes, constants and shared weights, in layers of one shape."""

    def __init__(
        self, activation: Callable[[Tensor], Tensor] = F.relu, order: int = 0, **also: object
    ) -> None:
        super().__init__()
        self.activation = activation
        self.register_buffer("order", torch.tensor([order]))
        self.twin = nn.Conv2d(5, 4, 1)
        for name, value in also.items():
            setattr(self, name, value)


def tied() -> Told:
    net = Told()
    net.other = nn.Conv2d(5, 4, 1)
    net.other.weight = net.twin.weight
    return net


def untied() -> Told:
    net = Told()
    net.other = nn.Conv2d(5, 4, 1)
    return net


def test_networks_of_equal_shapes_that_run_otherwise_are_different_structures() -> None:
    nets = [
        *(Told(), Told(torch.sigmoid), Told(order=1), Told(strides=(1, 2)), Told(strides=(2, 1))),
        *(Told(kinds=["a"]), Told(kinds=["b"]), Told(kinds={"a"}), tied(), untied()),
    ]
    assert len({structure(net) for net in nets}) == len(nets)


def test_weights_and_statistics_are_no_structure() -> None:
    one, other = Told(), Told().train()
    other(torch.rand(2, 3, 16, 16))
    assert structure(one) == structure(other)


class Activated(Plain):
    """Its activation is an attribute; behind a sigmoid, channels that are zero are no longer."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.second(self.activation(self.first(self.normalise(image)))))
        return self.head(F.relu(self.bare(x)))


def test_what_was_found_of_one_activation_is_not_taken_for_another() -> None:
    assert "first.0" in [group.name for group in followed(Activated(F.relu)).groups]
    assert "first.0" not in [group.name for group in followed(Activated(torch.sigmoid)).groups]
