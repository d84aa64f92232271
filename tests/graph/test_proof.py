import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segprune.errors import ConfigError
from segprune.graph import proof
from segprune.graph.grouping import grouped
from segprune.graph.proof import deepest_plan, refuse_branches, trial_plan, unproven
from segprune.model.contract import SegmentationNet
from tests.toys import CLASSES, TOYS, Plain, conv_bn, toy


@pytest.mark.parametrize("kind", TOYS)
def test_channels_that_can_be_followed_are_let_through(kind: type[SegmentationNet]) -> None:
    assert unproven(toy(kind), grouped(toy(kind)).groups) == {}


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


class Unfolded(Plain):
    """Channels that become pixels by a view, so that a reader has fewer than its maker."""

    def __init__(self) -> None:
        super().__init__()
        self.bare, self.head = nn.Conv2d(5, 16, 1), nn.Conv2d(4, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.bare(F.relu(self.second(F.relu(self.first(self.normalise(image))))))
        return self.head(x.view(len(x), 4, 2 * x.shape[2], 2 * x.shape[3]))


class ByTheLargest(Plain):
    """Channels times their largest one: of 40 one is hardly ever below 0, of one channel it often is."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 60, 3, padding=1, bias=False), conv_bn(60, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(self.normalise(image))
        return self.head(F.relu(self.bare(F.relu(self.second(x * x.amax(1, keepdim=True))))))


def test_a_fault_that_only_deep_cuts_show_is_found() -> None:
    assert {*unproven(toy(ByTheLargest), grouped(toy(ByTheLargest)).groups)} == {"first"}


@pytest.mark.parametrize(("kind", "layer"), [(Shuffled, "first.0"), (Softened, "bare"), (Unfolded, "bare")])
def test_only_the_group_that_a_cut_gets_wrong_is_found(kind: type[SegmentationNet], layer: str) -> None:
    net = toy(kind)
    ((name, reason),) = unproven(net, grouped(net).groups).items()
    assert name == layer
    assert reason.startswith("a cut of them fails (" if kind is Unfolded else "a cut changes the logits by ")


class Block(nn.Module):
    """A layer that cannot be cut, since its width is written down, and one that can."""

    def __init__(self) -> None:
        super().__init__()
        self.fixed, self.free, self.out = nn.Conv2d(5, 6, 1), nn.Conv2d(6, 4, 1), nn.Conv2d(4, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(F.relu(self.free(self.fixed(x).view(len(x), 6, *x.shape[2:]))))


class Blocks(Plain):
    """Many blocks of one kind."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block() for _ in range(12)))

    def forward(self, image: Tensor) -> Tensor:
        x = self.second(F.relu(self.first(self.normalise(image))))
        return self.head(F.relu(self.bare(self.blocks(x))))


@pytest.mark.slow
def test_of_many_wrong_groups_of_a_kind_few_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    net, take, trials = toy(Blocks), proof.take, list[int]()
    monkeypatch.setattr(proof, "take", lambda *given: trials.append(len(given[2])) or take(*given))
    bad = unproven(net, grouped(net).groups)
    assert bad.keys() == {f"blocks.{number}.fixed" for number in range(12)}
    assert all("is invalid for input of size" in reason for reason in bad.values())
    assert (
        len(trials) <= 12
    )  # halves of 27 groups, then of what is left but for two wrong ones, then all the rest
    assert trials[-1] == 15


class Silent(Shuffled):
    """Channels in another order, and weights that hide it."""

    def __init__(self) -> None:
        super().__init__()
        for parameter in self.parameters():
            nn.init.zeros_(parameter)


def test_weights_that_hide_a_fault_or_are_not_finite_make_no_difference() -> None:
    assert {*unproven(Silent(), grouped(Silent()).groups)} == {"first.0"}
    net = toy(Plain)
    net.bare.weight.data[0] = torch.nan
    assert unproven(net, grouped(net).groups) == {}


def test_what_no_trial_has_proven_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "MOST_TRIALS", 1)
    bad = unproven(toy(Shuffled), grouped(toy(Shuffled)).groups)
    assert {"first.0"} < {*bad}
    assert "none of 1 trial cuts has proven them" in bad.values()


def test_the_trial_takes_a_third_of_every_group_and_always_the_same() -> None:
    groups = grouped(Plain()).groups
    assert {name: len(channels) for name, channels in trial_plan(groups).items()} == {
        "first.0": 2,
        "second.0": 2,
        "bare": 2,
    }
    assert trial_plan(groups) == trial_plan(groups)


class Joined(Plain):
    """Two layers make the channels of a third one side by side, in groups of norms."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.norm = nn.Conv2d(5, 6, 1), nn.Conv2d(5, 4, 1), nn.GroupNorm(5, 10)
        self.bare, self.head = nn.Conv2d(5, 10, 1), nn.Conv2d(10, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(self.normalise(image)))))
        return self.head(self.norm(self.bare(x) + torch.cat([self.left(x), self.right(x)], 1)))


def test_the_deepest_trial_leaves_one_unit_in_every_layer() -> None:
    plan = deepest_plan(grouped(Plain()).groups)
    assert {name: len(channels) for name, channels in plan.items()} == {
        "first.0": 5,
        "second.0": 4,
        "bare": 3,
    }
    stay = {*range(10)} - {*deepest_plan(grouped(Joined()).groups)["bare"]}
    assert sorted(channel // 2 for channel in stay) in [
        [left, left, right, right] for left in (0, 1, 2) for right in (3, 4)
    ]
    assert unproven(toy(Joined), grouped(toy(Joined)).groups) == {}


class Brighter(Plain):
    """Runs another layer on bright images."""

    def forward(self, image: Tensor) -> Tensor:
        x = self.second(F.relu(self.first(self.normalise(image))))
        if image.mean() > 0.9:
            x = F.relu(x)
        return self.head(F.relu(self.bare(x)))


def test_a_branch_that_depends_on_the_image_is_refused() -> None:
    refuse_branches(Plain(), torch.ones(3, 16, 16))
    refuse_branches(Brighter(), torch.rand(3, 16, 16))
    with pytest.raises(ConfigError, match=r"Brighter runs other operations on the first training image"):
        refuse_branches(Brighter(), torch.ones(3, 16, 16))
