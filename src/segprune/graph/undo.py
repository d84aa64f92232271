"""Cuts that are taken back, so that many can be tried on one graph."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def undone(graph: Any) -> Iterator[None]:
    """Within the block a traced network may be cut by its graph; after it both are as they were, bit for bit.

    Cutting replaces tensors, widths and lists of widths, and torch-pruning notes in the graph what it did.

    Args:
        graph: Torch-pruning's, as ``graph.build`` gives it, with the network it was made of.
    """
    nodes = graph.module2node.values()
    ways = (way for node in nodes for way in node.dependencies)
    owners = {id(one): one for one in (graph, *graph.model.modules(), *graph.module2node, *nodes, *ways)}
    held = [(owner, dict(vars(owner)), _copies(vars(owner))) for owner in owners.values()]
    tensors = [(tensor, tensor.data) for tensor in (*graph.model.parameters(), *graph.model.buffers())]
    try:
        yield
    finally:
        for owner, attributes, copies in held:
            for key, copy in copies.items():
                _refill(attributes[key], copy)
            vars(owner).clear()
            vars(owner).update(attributes)
        for tensor, data in tensors:
            tensor.data = data


def _copies(attributes: dict[str, Any]) -> dict[str, Any]:
    """Copies of the containers among some attributes, which may be changed in place."""
    return {key: value.copy() for key, value in attributes.items() if isinstance(value, dict | list | set)}


def _refill(container: Any, copy: Any) -> None:
    container.clear()
    if isinstance(container, list):
        container.extend(copy)
    else:
        container.update(copy)
