from torch import Tensor, nn
from torch.nn import functional as F

from segprune.graph.grouping import grouped
from segprune.model.contract import SegmentationNet
from tests.foreign_nets import PartlyWritten
from tests.graph.test_trace import Multiplied, NormsOverChannels, OnImage, Parts
from tests.toys import Concat, Plain, Residual


def reasons(net: SegmentationNet) -> dict[str, str]:
    return {one.layer: one.reason for one in grouped(net).whole}


def test_of_a_network_that_can_be_cut_nothing_is_whole() -> None:
    found = grouped(Residual())
    assert found.whole == ()
    assert found.widths == {"stem.0": 6, "inner.0": 4, "outer.0": 6, "bare": 6}


def test_what_only_trains_and_makes_logits_has_no_width() -> None:
    assert grouped(Concat()).widths.keys() == {"stem.0", "near.0", "far.0", "pooled.0", "project.0"}


def test_what_stays_whole_has_a_reason() -> None:
    assert reasons(NormsOverChannels()) == {
        "first": "a LayerNorm over several of its channels",
    }
    together = "all of its channels go only together (norms or convolutions in groups, one head)"
    assert reasons(Multiplied()) == {"first.0": together}
    assert reasons(OnImage())["change.0"] == "it is joined with the image or with logits"
    assert reasons(Parts())["part.0"] == "its channels become pixels"
    assert reasons(Parts())["middle.0"] == "parts of its channels go to different layers"
    assert {one.layer: one.channels for one in grouped(Parts()).whole} == {"middle.0": 7, "part.0": 8}


def test_places_that_a_reader_does_not_have_are_seen_without_a_cut() -> None:
    assert reasons(PartlyWritten()) == {
        "wide": "another layer has no places for all of its channels (a view or reshape between them)"
    }


class Gated(Plain):
    """One map for all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Conv2d(5, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.second(F.relu(self.first(self.normalise(image))))
        return self.head(F.relu(self.bare(F.relu(x * self.gate(x).sigmoid()))))


def test_a_whole_group_counts_the_channels_of_all_its_layers() -> None:
    (one,) = grouped(Gated()).whole
    assert (one.channels, one.reason) == (6, "it is joined with a single channel")
