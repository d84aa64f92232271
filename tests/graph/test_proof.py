import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segprune.graph.cut import cut, mask_error
from segprune.graph.proof import proof_size, trial_plan, unproven
from segprune.graph.trace import survey, trace
from segprune.graph.wiring import wiring
from segprune.model.contract import SegmentationNet
from tests.foreign_nets import FOREIGN_NETS, Foreign
from tests.toys import CLASSES, TOYS, Plain, toy

# torch says so of the old kinds of its norms
pytestmark = pytest.mark.filterwarnings("ignore:.*(weight_norm|spectral_norm).* is deprecated")
SIZE = (16, 32)


@pytest.mark.parametrize("kind", TOYS)
def test_channels_that_can_be_followed_are_let_through(kind: type[SegmentationNet]) -> None:
    net = toy(kind)
    assert unproven(net, wiring(net), trace(net), (64, 64)) == {}


@pytest.mark.parametrize("kind", FOREIGN_NETS, ids=lambda kind: kind.__name__)
def test_of_a_foreign_network_what_can_be_followed_is_cut_and_the_rest_stays(kind: type[Foreign]) -> None:
    torch.manual_seed(0)
    net = kind()
    found = survey(net, SIZE)
    assert {group.name for group in found.groups} == kind.cuttable
    plan = trial_plan(found.groups)
    assert mask_error(net, cut(net, plan, SIZE), found.groups, plan, SIZE) < 1e-13
    assert (net.training, found.share < 1) == (True, True)


class Softened(Plain):
    """A sigmoid, which makes a half of the nothing that a removed channel leaves."""

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(self.normalise(image)))))
        return self.head(self.bare(x).sigmoid())


def test_the_group_at_fault_is_found_among_those_that_are_right() -> None:
    net = toy(Softened)
    wired = wiring(net)
    groups = survey(toy(Plain)).groups
    bad = unproven(net, wired, groups, (64, 64))
    assert list(bad) == ["bare"]
    assert bad["bare"].startswith("a cut changes the logits by ")


class Unfolded(Plain):
    """Channels that become pixels by a view, so that a reader has fewer than its maker."""

    def __init__(self) -> None:
        super().__init__()
        self.bare, self.head = nn.Conv2d(5, 16, 1), nn.Conv2d(4, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.bare(F.relu(self.second(F.relu(self.first(self.normalise(image))))))
        return self.head(x.view(len(x), 4, 2 * x.shape[2], 2 * x.shape[3]))


def test_channels_that_become_pixels_stay_whole() -> None:
    assert [group.name for group in survey(toy(Unfolded)).groups] == ["first.0", "second.0"]


class ZeroBegun(Plain):
    """Hides a sigmoid behind a scale that begins at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1))
        self.scales = nn.Parameter(torch.zeros(4, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(self.normalise(image)))))
        return self.head(self.bare(x).sigmoid() * self.scales)


def test_weights_that_begin_at_nothing_hide_no_fault() -> None:
    assert [group.name for group in survey(ZeroBegun()).groups] == ["first.0", "second.0"]


def test_weights_that_are_not_finite_are_no_fault_of_the_groups() -> None:
    net = toy(Plain)
    net.bare.weight.data[0] = torch.nan
    assert len(survey(net).groups) == 3


class Sized(Plain):
    """Runs one more operation on wide images."""

    def forward(self, image: Tensor) -> Tensor:
        logits = super().forward(image)
        return logits.abs() if image.shape[-1] > 300 else logits


def test_large_images_are_proven_on_small_ones_where_the_same_runs() -> None:
    assert proof_size(Plain(), (96, 128)) == (96, 128)
    assert proof_size(Plain(), (1024, 2048)) == (64, 64)
    assert proof_size(Sized(), (256, 320)) == (256, 320)
