import gc
import weakref

import pytest
from torch import Tensor, nn

from segprune.errors import ConfigError
from segprune.graph.dependency import dependency_graph
from tests.toys import Plain


def test_every_layer_is_in_the_graph_frozen_or_not() -> None:
    net = Plain()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    with dependency_graph(net) as (twin, graph):
        traced = {name for name, module in twin.named_modules() if module in graph.module2node}
    assert traced == {"first.0", "first.1", "second.0", "second.1", "bare", "head"}


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
    with (
        pytest.raises(
            ConfigError, match=r"HiddenHead runs layers that its traced_logits does not reach: extra"
        ),
        dependency_graph(HiddenHead()),
    ):
        pass


def test_the_graph_and_its_activations_are_free_without_a_collection() -> None:
    gc.disable()
    try:
        with dependency_graph(Plain()) as (_, graph):
            nodes = [weakref.ref(node) for node in graph.module2node.values()]
            assert all(node() is not None for node in nodes)
        del graph
        assert all(node() is None for node in nodes)
    finally:
        gc.enable()
