from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from segprune.dataset.contract import Batch
from segprune.errors import ConfigError, DataError, TrainingError
from segprune.graph.group import ChannelGroup, Member
from segprune.model.contract import SegmentationNet
from segprune.pruner.clique import clique_scores
from segprune.pruner.contract import Calibration
from segprune.pruner.maps import MapStatistics, map_statistics
from segprune.pruner.sirfp import Sirfp, alive_mask, mean_over_views, root_similarity
from tests.pruner.battery import PrunerBattery
from tests.pruner.surgery import duplicate, group_of, network_of, traced, whole
from tests.toys import Concat, Plain, toy, toy_calibration

PAPER = Sirfp(
    similarity="cosine",
    self_term=False,
    normalize="alive",
    edge_weight=0.0,
    edge_layers=[],
    pool=33,
    join="mean",
)
OFFICIAL = Sirfp(
    similarity="l1",
    self_term=True,
    normalize="none",
    edge_weight=0.4,
    edge_layers=["backbone", "encoder"],
    pool=33,
    join="max",
)
P, Q, ZERO = (1.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, -1.0), (0.0, 0.0, 0.0, 0.0)


class TestSirfpPaper(PrunerBattery):
    paper_scope = "local"
    duplicates = "apart"

    @staticmethod
    def build() -> Sirfp:
        return PAPER


class TestSirfp(PrunerBattery):
    paper_scope = "local"
    duplicates = "apart"
    rounding = 8 * torch.finfo(torch.float32).eps  # maps are compared in single precision

    @staticmethod
    def build() -> Sirfp:
        return OFFICIAL


class TwoViews(SegmentationNet):
    """Two norms that change nothing; the second sees the three channels in reverse order."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.BatchNorm2d(3, eps=0.0) for _ in range(2))

    def forward(self, image: Tensor) -> Tensor:
        return self.first(image) + self.second(image.flip(1))


def calibration_of(*maps: tuple[float, ...]) -> Calibration:
    """One image whose channels are the maps, 2x2 px."""
    image = torch.tensor(maps).view(1, len(maps), 2, 2)
    return replace(toy_calibration(count=0), batches=[Batch(image, torch.zeros(0))])


def two_views(pruner: Sirfp, *maps: tuple[float, ...]) -> list[float]:
    return pruner(TwoViews().eval(), [whole(3, "first", "second")], calibration_of(*maps))["first"].tolist()


def member(own: list[int], root: list[int]) -> Member:
    return Member(layer="0", axis="out", own=torch.tensor(own), root=torch.tensor(root))


def statistics(similarity: Tensor, *alive: bool) -> MapStatistics:
    return MapStatistics(
        similarity=similarity,
        edge=torch.zeros(len(similarity)),
        alive=torch.tensor(alive),
        images=1,
        is_spatial=True,
    )


def test_the_mean_joins_the_similarities_of_all_layers():
    # first view: channels 0 and 1 equal; second, reversed: 1 and 2 equal. Means .5, .5, 0: channel 1 has
    # degree 1 over two others and goes first, then nothing is similar to anything
    assert two_views(PAPER, P, P, Q) == pytest.approx([0.0, -0.5, 0.0])


def test_the_max_keeps_what_one_layer_wants_to_keep():
    # the first view removes 0 of the pair 0, 1; the second 1 of the pair 1, 2; each is kept by the other
    assert two_views(replace(PAPER, join="max"), P, P, Q) == pytest.approx([0.0, 0.0, 0.0])


def test_a_layer_in_which_a_channel_is_dead_does_not_speak_for_it():
    # (0, P, P) and reversed (P, P, 0): 0 is alive in the second view alone and equal to 1 there; 2 likewise
    # in the first. Similarities 1, 1 and, never alive together, 0: degrees 1, 2, 1
    assert two_views(PAPER, ZERO, P, P) == pytest.approx([0.0, -1.0, 0.0])


@pytest.mark.parametrize("pruner", [PAPER, replace(PAPER, join="max"), OFFICIAL])
def test_a_channel_of_zeros_goes_first(pruner):
    scores = two_views(pruner, P, ZERO, Q)
    assert scores[1] < min(scores[0], scores[2])


def test_the_official_settings_reverse_the_fate_of_duplicates():
    # maps divided by their L1 norm: (.5,.5,0,0) twice, (0,0,1,0): self terms .5, .5, 1
    # with the self term degrees 1, 1, 1: 0 pays 1, then 2 pays 1, then 1 pays .5
    net, calibration = network_of(nn.BatchNorm2d(3, eps=0.0)), calibration_of(P, P, (0.0, 0.0, 1.0, 0.0))
    official = replace(OFFICIAL, edge_weight=0.0)(net, [whole(3, "0")], calibration)["0"]
    paper = replace(PAPER, similarity="l1", normalize="none")(net, [whole(3, "0")], calibration)["0"]
    assert official.tolist() == pytest.approx([-1.0, -0.5, -1.0], abs=1e-4)
    assert paper.tolist() == pytest.approx([-0.5, 0.0, 0.0], abs=1e-4)


def test_edges_add_to_the_score():
    net, calibration = network_of(nn.BatchNorm2d(3, eps=0.0)), calibration_of(P, Q, (4.0, 0.0, 0.0, 0.0))
    plain = PAPER(net, [whole(3, "0")], calibration)["0"]
    found = replace(PAPER, edge_weight=2.0)(net, [whole(3, "0")], calibration)["0"]
    # P = (1, 1 / 0, 0), padded: slopes across 1, 1, .5, .5; down 0, 0, 1.5, 1.5, squares 1, 1, 2.5, 2.5
    square = torch.tensor([1.0, 1.0, 2.5, 2.5])
    deviation = (square.mean() - square.sqrt().mean() ** 2).sqrt()
    assert (found - plain)[0] == pytest.approx(2 * deviation.item(), rel=1e-5)


class Parts(SegmentationNet):
    """Two norms that change nothing, one after the other."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__()
        for name in (first, second):
            self.add_module(name, nn.BatchNorm2d(3, eps=0.0))

    def forward(self, image: Tensor) -> Tensor:
        for layer in self.children():
            image = layer(image)
        return image


@pytest.mark.parametrize(
    ("names", "edge_layers", "expected"),
    [
        (("backbone", "classifier"), ["backbone", "encoder"], [True, False]),
        (("encoder", "head"), ["backbone", "encoder"], [True, False]),
        (("net_backbone_1", "net_head"), ["backbone", "encoder"], [True, False]),
        (("stem", "head"), ["backbone", "encoder"], [True, True]),  # nothing is called a backbone, so all is
        (("backbone", "classifier"), [""], [True, True]),
    ],
)
def test_edges_count_in_the_backbone_as_in_the_official_code(names, edge_layers, expected):
    net, calibration = Parts(*names).eval(), calibration_of(P, Q, (4.0, 0.0, 0.0, 0.0))
    groups = [whole(3, name) for name in names]
    plain = replace(OFFICIAL, edge_weight=0.0)(net, groups, calibration)
    found = replace(OFFICIAL, edge_layers=edge_layers)(net, groups, calibration)
    assert [not torch.equal(found[name], plain[name]) for name in names] == expected


def test_by_the_official_rule_zeros_go_first_in_the_backbone_and_last_elsewhere():
    # 0.4 of the edges in the backbone, less the degree at the time of removal; zeros are similar to nothing
    net, maps = (
        network_of(nn.BatchNorm2d(4, eps=0.0)),
        torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0)),
    )
    maps[:, 1] = 0
    seen = map_statistics(
        net,
        {"0": net.get_submodule("0")},
        [Batch(maps, torch.zeros(0))],
        similarity="l1",
        pool=33,
        with_edge=True,
    )["0"]
    elsewhere = torch.from_numpy(clique_scores(seen.similarity.numpy(), self_term=True, normalize="none"))
    assert (elsewhere + 0.4 * seen.edge).argmin() == 1
    assert elsewhere.argmax() == 1


def test_the_first_of_two_duplicates_goes_before_every_other_channel_that_is_less_alike():
    net, group = toy(Plain), group_of(traced(Plain), "first.0")
    duplicate(net, group, source=0, target=2)
    scores = replace(PAPER, normalize="none")(net, [group], toy_calibration())[group.name]
    # a pair costs at least 1 as long as both are there
    assert min(scores[0], scores[2]) <= -1


def test_a_pooled_branch_is_compared_over_the_images():
    net, group, calibration = toy(Concat), group_of(traced(Concat), "pooled.0"), toy_calibration(count=3)
    values: list[Tensor] = []
    with net.get_submodule("pooled.1").register_forward_hook(lambda *args: values.append(args[2].flatten(1))):
        for batch in calibration.batches:
            net.all_logits(batch.image)
    vectors = torch.cat(values).T.double()
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    degree = (unit @ unit.T).abs().fill_diagonal_(0.0).sum(1)
    scores = PAPER(net, [group], calibration)[group.name]
    assert scores.argmin() == degree.argmax()
    assert -scores.min().item() == pytest.approx(degree.max().item() / 3, rel=1e-4)


def test_a_pooled_branch_does_not_speak_where_another_layer_has_maps():
    class Pooled(SegmentationNet):
        """The second norm sees the mean of the map: 1/2, 1/2 and 0."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = (nn.BatchNorm2d(3, eps=0.0) for _ in range(2))

        def forward(self, image: Tensor) -> Tensor:
            return self.first(image) + self.second(image.mean((2, 3), keepdim=True))

    # as the first norm alone says; and one image is enough
    scores = PAPER(Pooled().eval(), [whole(3, "first", "second")], calibration_of(P, P, Q))["first"]
    assert scores.tolist() == pytest.approx([-0.5, 0.0, 0.0])


def test_a_channel_at_several_positions_has_the_mean_of_their_similarities():
    # positions 0 and 2 carry channel 1, position 1 channel 0
    matrix = torch.tensor([[1.0, 0.2, 0.4], [0.2, 1.0, 0.6], [0.4, 0.6, 1.0]], dtype=torch.float64)
    found = root_similarity(member([0, 1, 2], [1, 0, 1]), statistics(matrix, True, True, True), 2)
    expected = torch.tensor([[1.0, 0.4], [0.4, 0.7]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


def test_dead_positions_carry_nothing():
    maps = statistics(torch.ones(3, 3, dtype=torch.float64), True, False, True)
    place = member([0, 1, 2], [2, 1, 0])
    assert alive_mask(place, maps, 4).tolist() == [True, False, True, False]
    expected = [[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert root_similarity(place, maps, 4).tolist() == expected


def test_means_are_over_the_layers_that_know_both_channels():
    full = torch.full((2, 2), 0.8, dtype=torch.float64)
    half = torch.tensor([[0.4, 0.0], [0.0, 0.0]], dtype=torch.float64)
    masks = torch.tensor([[True, True], [True, False]])
    expected = torch.tensor([[0.6, 0.8], [0.8, 0.8]], dtype=torch.float64)
    torch.testing.assert_close(mean_over_views(torch.stack([full, half]), masks), expected)


def test_it_needs_batches():
    with pytest.raises(ConfigError, match="0 batches; sirfp needs some"):
        PAPER(toy(Plain), traced(Plain), toy_calibration(count=0))


def test_one_image_says_nothing_about_maps_of_one_pixel():
    calibration = toy_calibration(count=1)
    one = replace(calibration, batches=[Batch(*(part[:1] for part in calibration.batches[0]))])
    group = group_of(traced(Concat), "pooled.0")
    with pytest.raises(DataError, match=r"group pooled.0: the maps of pooled.1 have one pixel.*2 or more"):
        PAPER(toy(Concat), [group], one)


def test_a_layer_that_never_runs_is_refused():
    net = network_of(nn.Identity())
    net.add_module("idle", nn.Conv2d(3, 2, 1))
    with pytest.raises(
        ConfigError, match=r"pruner sirfp: it cannot score idle \(no layer that runs .*=taylor"
    ):
        PAPER(net, [whole(2, "idle")], toy_calibration())


def test_maps_that_are_not_finite_are_refused():
    net = toy(Plain)
    net.get_submodule("second.1").bias.data[0] = float("nan")
    with pytest.raises(TrainingError, match=r"layer second\.1: its feature maps are not finite"):
        PAPER(net, traced(Plain), toy_calibration())


def test_a_layer_without_the_groups_channels_is_not_asked():
    index = torch.arange(3)
    out = Member(layer="0", axis="out", own=index, root=index)
    reader = Member(layer="1", axis="in", own=index, root=index)
    group = ChannelGroup(name="0", size=3, members=(out, reader))
    net = network_of(nn.BatchNorm2d(3, eps=0.0), nn.Conv2d(3, 3, 1))
    assert PAPER(net, [group], calibration_of(P, P, Q))["0"].tolist() == pytest.approx([-0.5, 0.0, 0.0])
