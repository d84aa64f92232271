import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from segprune.dataset.contract import Batch
from segprune.errors import ConfigError, DataError, TrainingError
from segprune.graph.group import ChannelGroup, Member
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration
from segprune.pruner.fgp import Fgp, class_support, cumulative_share
from tests.pruner.battery import PrunerBattery
from tests.pruner.surgery import conv_of, group_of, network_of, scores_of, traced, whole
from tests.toys import IGNORE, Plain, toy, toy_calibration

MEAN, ELEMENTWISE = Fgp(gradient="mean"), Fgp(gradient="elementwise")
RISING, FLAT = (1.0, 2.0, 3.0, 4.0), (2.0, 2.0, 2.0, 2.0)


class TestFgp(PrunerBattery):
    paper_scope = "global"  # one share of support for all layers
    duplicates = "no law"

    @staticmethod
    def build() -> Fgp:
        return MEAN


class TestFgpElementwise(PrunerBattery):
    paper_scope = "global"
    duplicates = "no law"

    @staticmethod
    def build() -> Fgp:
        return ELEMENTWISE


def square(*values: float) -> Tensor:
    """A (2, 2) map."""
    return torch.tensor(values).view(2, 2)


def calibration_of(*labels: tuple[int, ...], maps: tuple[tuple[float, ...], ...]) -> Calibration:
    """One batch with an image per tuple of labels, all with these maps as channels, 2x2 px."""
    image = torch.stack([square(*values) for values in maps]).expand(len(labels), -1, -1, -1)
    label = torch.tensor(labels).view(-1, 2, 2)
    return replace(toy_calibration(count=0), batches=[Batch(image, label)])


def linear(*rows: list[float]) -> SegmentationNet:
    """A norm that changes nothing and a head with a row per class."""
    return network_of(nn.BatchNorm2d(len(rows[0]), eps=0.0), conv_of(list(rows)))


def smallest_prefix(support: list[float], share: float) -> set[int]:
    """The paper's rule as written: best channels first, until they hold the share."""
    kept: set[int] = set()
    for channel in sorted(range(len(support)), key=lambda c: -support[c]):
        if sum(support[c] for c in kept) >= share * sum(support):
            break
        kept.add(channel)
    return kept


def test_support_is_the_positive_part_of_gradient_times_feature():
    # mean gradient (.05, -.25, .25): .05 * 10 / 4; negative; nothing. Pixel by pixel: (.1 + .2 + .3 + 0) / 4
    maps = torch.stack([square(*RISING), square(1.0, 1.0, 1.0, 1.0), square(0.0, 0.0, 0.0, 0.0)])[None]
    gradients = torch.stack(
        [square(0.1, 0.1, 0.1, -0.1), square(-1.0, 0.0, 0.0, 0.0), square(1.0, 0.0, 0.0, 0.0)]
    )[None]
    assert class_support(maps, gradients, "mean").tolist() == pytest.approx([0.125, 0, 0])
    assert class_support(maps, gradients, "elementwise").tolist() == pytest.approx([0.15, 0, 0])


def test_the_cumulative_share_of_the_worked_example():
    # of 20, from below: 1, 2, 4, 5, 8
    support = torch.tensor([8, 1, 4, 5, 2], dtype=torch.float64)
    assert cumulative_share(support).tolist() == pytest.approx([1, 0.05, 0.35, 0.6, 0.15])


@pytest.mark.parametrize(
    ("share", "kept"), [(0.8, {0, 2, 3}), (0.5, {0, 3}), (1.0, {0, 1, 2, 3, 4}), (1e-9, {0})]
)
def test_what_is_above_a_threshold_is_the_smallest_set_with_the_share(share, kept):
    support = [8.0, 1.0, 4.0, 5.0, 2.0, 0.0]
    scores = cumulative_share(torch.tensor(support, dtype=torch.float64))
    assert set((scores > 1 - share).nonzero().flatten().tolist()) == kept == smallest_prefix(support, share)


def test_that_holds_for_any_support_and_share():
    generator = torch.Generator().manual_seed(0)
    for size in (1, 2, 7, 30):
        support = torch.rand(size, generator=generator, dtype=torch.float64)
        scores = cumulative_share(support)
        for share in (0.05, 0.33, 0.77, 0.95):
            kept = set((scores > 1 - share).nonzero().flatten().tolist())
            assert kept == smallest_prefix(support.tolist(), share)


def test_without_any_support_all_channels_have_zero():
    assert cumulative_share(torch.zeros(3, dtype=torch.float64)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("pruner", "lower"),
    [
        # gradients of a class: its weights where it is labelled, mean over 4 pixels.
        # class 0: (.5, -.5) * means (2.5, 2) -> 1.25, 0; class 1: (.5, .25) -> 1.25, .5; mean 1.25, .25
        (MEAN, 0.25 / 1.5),
        # class 0: (1 + 2) / 4, 0; class 1: 2 * 3 / 4, 1 * 2 / 4; mean 1.125, .25
        (ELEMENTWISE, 0.25 / 1.375),
    ],
)
def test_classes_count_alike_and_pixels_without_a_class_do_not(pruner, lower):
    net, calibration = linear([1.0, -1.0], [2.0, 1.0]), calibration_of((0, 0, 1, IGNORE), maps=(RISING, FLAT))
    assert pruner(net, [whole(2, "0")], calibration)["0"].tolist() == pytest.approx([1.0, lower])


def test_a_class_has_the_mean_over_the_images_in_which_it_occurs():
    # class 1 is in one of the images only and keeps 1.25, .5; class 2 is in none
    net = linear([1.0, -1.0], [2.0, 1.0], [0.0, 9.0])
    labels = (0, 0, 1, IGNORE), (0, 0, IGNORE, IGNORE), (IGNORE,) * 4
    scores = MEAN(net, [whole(2, "0")], calibration_of(*labels, maps=(RISING, FLAT)))["0"]
    assert scores.tolist() == pytest.approx([1.0, 0.25 / 1.5])


def test_logits_are_enlarged_to_the_label():
    # every gradient is the weight, times 16 / 4 pixels for the large label: 1 * 2.5 and 2 * 2 either way
    small = calibration_of((0, 0, 0, 0), maps=(RISING, FLAT))
    large = replace(small, batches=[Batch(small.batches[0].image, torch.zeros(1, 4, 4, dtype=torch.int64))])
    for calibration in (small, large):
        scores = MEAN(linear([1.0, 2.0]), [whole(2, "0")], calibration)["0"]
        assert scores.tolist() == pytest.approx([2.5 / 6.5, 1.0])


def test_a_labelled_pixel_asks_the_logits_around_it():
    # 4 px from 2, corners not aligned: the second pixel is 3/4 of the first logit and 1/4 of the next.
    # Channel 0: (3/4 * 1 + 1/4 * 2) / 4, channel 1: 2 / 4
    calibration = calibration_of((0, 0, 0, 0), maps=(RISING, FLAT))
    label = torch.full((1, 4, 4), IGNORE)
    label[0, 0, 1] = 0
    calibration = replace(calibration, batches=[Batch(calibration.batches[0].image, label)])
    scores = ELEMENTWISE(linear([1.0, 1.0]), [whole(2, "0")], calibration)["0"]
    assert scores.tolist() == pytest.approx([0.3125 / 0.8125, 1.0])


def test_auxiliary_heads_have_no_say():
    class TwoHeads(SegmentationNet):
        """The auxiliary head reads the channel that the main one does not."""

        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(2, eps=0.0)
            self.main, self.aux = conv_of([[1.0, 0.0]]), conv_of([[0.0, 9.0]])

        def forward(self, image: Tensor) -> Tensor:
            return self.main(self.norm(image))

        def all_logits(self, image: Tensor) -> tuple[Tensor, ...]:
            x = self.norm(image)
            return self.main(x), self.aux(x)

    calibration = calibration_of((0, 0, 0, 0), maps=(RISING, FLAT))
    assert MEAN(TwoHeads().eval(), [whole(2, "norm")], calibration)["norm"].tolist() == [1.0, 0.0]


def test_shares_of_the_norms_of_a_stream_add_up():
    class Sum(SegmentationNet):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = (nn.BatchNorm2d(2, eps=0.0) for _ in range(2))

        def forward(self, image: Tensor) -> Tensor:
            return self.first(image) + 3 * self.second(image)

    # channel c is the logit of class c, each labelled in half of the pixels. First norm: features 1 and 3,
    # gradients 1/2: shares 1/4 and 3/4. Second: features 3 and 3, gradients 3/2: 1/2 and 1/2
    net = Sum().eval()
    net.second.weight.data = torch.tensor([3.0, 1.0])
    calibration = calibration_of((0, 0, 1, 1), maps=((1.0,) * 4, (3.0,) * 4))
    scores = MEAN(net, [whole(2, "first", "second")], calibration)["first"]
    assert scores.tolist() == pytest.approx([0.75 / 2, 1.0])


def test_branches_of_different_widths_are_judged_alike():
    class Joined(SegmentationNet):
        def __init__(self) -> None:
            super().__init__()
            self.narrow, self.wide = nn.BatchNorm2d(1, eps=0.0), nn.BatchNorm2d(3, eps=0.0)

        def forward(self, image: Tensor) -> Tensor:
            return torch.cat([self.narrow(image[:, :1]), self.wide(image[:, 1:])], dim=1)

    def member(layer: str, *root: int) -> Member:
        return Member(layer=layer, axis="out", own=torch.arange(len(root)), root=torch.tensor(root))

    # four channels of equal support: a quarter each, though one of them is the only one of its norm
    group = ChannelGroup(name="narrow", size=4, members=(member("narrow", 0), member("wide", 1, 2, 3)))
    calibration = calibration_of((0, 1, 2, 3), maps=((1.0,) * 4,) * 4)
    scores = MEAN(Joined().eval(), [group], calibration)["narrow"]
    assert sorted(scores.tolist()) == pytest.approx([0.25, 0.5, 0.75, 1.0])


@pytest.mark.parametrize("pruner", [MEAN, ELEMENTWISE], ids=["mean", "elementwise"])
def test_an_activation_in_place_changes_nothing(pruner):
    net, other = toy(Plain), toy(Plain)
    other.relu = nn.ReLU(inplace=False)
    expected = scores_of(pruner, other, *traced(Plain))
    for name, score in scores_of(pruner, net, *traced(Plain)).items():
        torch.testing.assert_close(score, expected[name])


def test_a_scale_that_the_next_layer_undoes_changes_nothing():
    net, group = toy(Plain), group_of(traced(Plain), "first.0")
    before = scores_of(MEAN, net, group)[group.name]
    scaled, factor = copy.deepcopy(net), 8.0
    for tensor in (scaled.get_submodule("first.1").weight.data, scaled.get_submodule("first.1").bias.data):
        tensor[1] *= factor
    scaled.get_submodule("second.0").weight.data[:, 1] /= factor
    torch.testing.assert_close(scores_of(MEAN, scaled, group)[group.name], before)


def test_it_needs_batches():
    with pytest.raises(ConfigError, match="0 batches; fgp needs some"):
        MEAN(toy(Plain), traced(Plain), toy_calibration(count=0))


def test_images_without_any_labelled_pixel_are_refused():
    calibration = calibration_of((IGNORE,) * 4, maps=(RISING, FLAT))
    with pytest.raises(DataError, match="no pixel of the 1 calibration batches has a class; fgp needs"):
        MEAN(linear([1.0, 1.0]), [whole(2, "0")], calibration)


def test_a_group_that_never_runs_is_refused():
    net = network_of(conv_of([[1.0, 1.0, 1.0]]))
    net.add_module("idle", conv_of([[1.0]]))
    with pytest.raises(
        ConfigError, match=r"pruner fgp: it cannot score idle \(no layer that runs .*pruner=taylor"
    ):
        scores_of(MEAN, net, whole(1, "0"), whole(1, "idle"))


def test_a_map_that_is_not_finite_is_refused():
    net = toy(Plain)
    net.get_submodule("first.1").bias.data[2] = float("nan")
    with pytest.raises(TrainingError, match=r"group first\.0: the score of channel \d is nan.*lower"):
        scores_of(MEAN, net, *traced(Plain))
