"""torch-pruning, without what only its FLOP counter uses: nothing here calls it, and it takes seconds to import."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden(package: str) -> Iterator[None]:
    """Within the block a package cannot be imported, unless it already was."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # so says the import system's documentation
    try:
        yield
    finally:
        del sys.modules[package]


with hidden("timm"):  # and with it torchvision and torch's compiler
    import torch_pruning as tp
    from torch_pruning._helpers import _HybridIndex as HybridIndex
    from torch_pruning.dependency import index_mapping

__all__ = ["HybridIndex", "index_mapping", "tp"]
