import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segprune.errors import ConfigError
from segprune.graph.proof import proven_groups, refuse_unproven
from segprune.graph.trace import trace
from segprune.model.contract import SegmentationNet
from tests.toys import CLASSES, TOYS, Plain, toy


@pytest.mark.parametrize("kind", TOYS)
def test_channels_that_can_be_followed_are_let_through(kind: type[SegmentationNet]) -> None:
    refuse_unproven(toy(kind), trace(toy(kind)))


class Shuffled(Plain):
    """Channels in another order, which no layer tells of."""

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(self.normalise(image)).flip(1))))
        return self.head(F.relu(self.bare(x)))


class Softened(Plain):
    """A softmax over channels, which gives the others what one leaves."""

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(self.normalise(image)))))
        return self.head(self.bare(x).softmax(1))


@pytest.mark.parametrize(("kind", "layer"), [(Shuffled, "first.0"), (Softened, "bare")])
def test_channels_that_cannot_be_followed_are_refused(kind: type[SegmentationNet], layer: str) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"channels of layer '{layer}' of {kind.__name__} cannot.*by \d\.\de[-+]\d\d\. .*put layers",
    ):
        refuse_unproven(toy(kind), trace(toy(kind)))


class Unfolded(Plain):
    """Channels that become pixels by a view, so that a reader has fewer than its maker."""

    def __init__(self) -> None:
        super().__init__()
        self.bare, self.head = nn.Conv2d(5, 16, 1), nn.Conv2d(4, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.bare(F.relu(self.second(F.relu(self.first(self.normalise(image))))))
        return self.head(x.view(len(x), 4, 2 * x.shape[2], 2 * x.shape[3]))


def test_a_cut_that_fails_is_refused_by_the_name_of_its_layer() -> None:
    with pytest.raises(ConfigError, match=r"channels of layer 'bare' of Unfolded cannot be followed"):
        refuse_unproven(toy(Unfolded), trace(toy(Unfolded)))


def test_weights_that_are_not_finite_are_no_fault_of_the_groups() -> None:
    net = toy(Plain)
    net.bare.weight.data[0] = torch.nan
    refuse_unproven(net, trace(net))


class Tied(Plain):
    """Two layers of one weight."""

    def __init__(self) -> None:
        super().__init__()
        width = self.bare.out_channels
        self.bare, self.again = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.second = nn.Sequential(nn.Conv2d(self.first[0].out_channels, width, 3, padding=1))
        self.head, self.again.weight = nn.Conv2d(width, CLASSES, 1), self.bare.weight

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(self.normalise(image)))))
        return self.head(F.relu(self.again(F.relu(self.bare(x)))))


class Normed(Plain):
    """A weight that is computed from others."""

    def __init__(self) -> None:
        super().__init__()
        self.bare = nn.utils.parametrizations.weight_norm(self.bare)


class Spectral(Plain):
    """Likewise, with a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.bare = nn.utils.parametrizations.spectral_norm(self.bare)


class Recurrent(Plain):
    """Rows of pixels, read one after the other."""

    def __init__(self) -> None:
        super().__init__()
        width = self.bare.out_channels
        self.rows, self.head = nn.GRU(width, width, batch_first=True), nn.Conv2d(width, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.bare(F.relu(self.second(F.relu(self.first(self.normalise(image)))))))
        n, c, h, w = x.shape
        read, _ = self.rows(x.permute(0, 2, 3, 1).reshape(n * h, w, c))
        return self.head(read.reshape(n, h, w, c).permute(0, 3, 1, 2))


@pytest.mark.parametrize("kind", [Tied, Normed, Spectral, Recurrent])
def test_what_the_graph_of_a_foreign_network_ends_in_is_one_sentence(kind: type[SegmentationNet]) -> None:
    with pytest.raises(ConfigError, match=rf"^model: the channels of .*{kind.__name__} cannot be followed"):
        proven_groups(toy(kind))


@pytest.mark.parametrize("kind", TOYS)
def test_proven_groups_are_the_traced_ones(kind: type[SegmentationNet]) -> None:
    proven, traced = ([(one.name, one.size) for one in found(toy(kind))] for found in (proven_groups, trace))
    assert proven == traced
