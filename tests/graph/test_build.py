import gc
import weakref

import pytest
from torch import Tensor, nn
from torch_pruning.dependency import index_mapping

from segprune.graph import build as file
from segprune.graph.build import View, build
from segprune.graph.grouping import grouped
from segprune.graph.trace import followed
from tests.foreign_nets import OwnCell, PositionAttention
from tests.toys import Plain

SMALL = View(size_hw=(16, 16))


def test_every_layer_is_in_the_graph_frozen_or_not() -> None:
    net = Plain()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    with build(net, SMALL) as (twin, graph):
        traced = {name for name, module in twin.named_modules() if module in graph.module2node}
    assert traced == {"first.0", "first.1", "second.0", "second.1", "bare", "head"}


def test_closed_parts_are_not_in_the_graph() -> None:
    view = View(size_hw=(16, 16), closed=("second",))
    with build(Plain(), view) as (twin, graph):
        traced = {name for name, module in twin.named_modules() if module in graph.module2node}
    assert traced == {"first.0", "first.1", "bare", "head"}
    assert view.hides("second.0")
    assert not view.hides("seconds")


def test_the_graph_and_its_activations_are_free_without_a_collection() -> None:
    gc.disable()
    try:
        with build(Plain(), SMALL) as (_, graph):
            nodes = [weakref.ref(node) for node in graph.module2node.values()]
            assert all(node() is not None for node in nodes)
        del graph
        assert all(node() is None for node in nodes)
    finally:
        gc.enable()


class Flattened(Plain):
    """A linear layer that reads 64 pixels of every channel."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(4 * 8 * 8, 4)

    def forward(self, image: Tensor) -> Tensor:
        x = self.bare(self.second(self.first(self.normalise(image))))
        x = self.read(nn.functional.adaptive_avg_pool2d(x, 8).flatten(1))
        return self.head(x[:, :, None, None].expand(-1, -1, *image.shape[2:]))


@pytest.mark.parametrize(
    ("bound", "places"),
    [("MOST_INDICES", "256 places of one tensor"), ("MOST_LISTED", "more than 255 places of")],
)
def test_channels_over_too_many_places_stay_whole_and_torch_pruning_is_as_it_was(
    monkeypatch: pytest.MonkeyPatch, bound: str, places: str
) -> None:
    usual = index_mapping._FlattenIndexMapping
    assert {group.name for group in followed(Flattened()).groups} == {"first.0", "second.0", "bare", "read"}
    monkeypatch.setattr(file, bound, 4 * 8 * 8 - 1)
    found = grouped(Flattened())  # what is followed is kept
    assert {group.name for group in found.groups} == {"first.0", "second.0", "read"}
    (one,) = found.whole
    assert one.layer == "bare"
    assert one.reason.startswith(f"they cannot be followed (its channels are laid out over {places}")
    assert index_mapping._FlattenIndexMapping is usual


@pytest.mark.timeout(60)
def test_attention_between_all_positions_takes_seconds() -> None:
    assert {group.name for group in followed(PositionAttention()).groups} >= {"first.0", "last.0"}


@pytest.mark.timeout(60)
def test_what_goes_round_for_ever_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "MOST_STEPS", 300)
    found = grouped(OwnCell())
    assert {group.name for group in found.groups} == OwnCell.cuttable
    assert {one.layer: one.reason for one in found.whole} == {
        "first.0": "they cannot be followed (they go on over more than 300 layers and operations)"
    }
