"""Which channel-pruning method, at which budget, keeps the most mIoU?

A run is one chain over one segmentation network::

    train -> prune -> finetune -> eval

``prune`` scores every channel group (``pruner``), turns the scores into a plan that meets a budget
(``budget``), cuts the network (``graph``) and proves the cut. Every stage takes a network state and returns
a new one; results live in a content-addressed store, so that nothing is computed twice.

Runs are started with ``segprune run``; read ``app.py`` first. From Python, a network that a run has made predicts
in two lines::

    net = segprune.load("outputs/runs/<date>/<time>")
    mask = net.predict(image)

The names in ``__all__`` are the ones to rely on; everything else may move between versions.
"""

from typing import TYPE_CHECKING

from segprune.errors import (
    BudgetError,
    CheckpointError,
    ConfigError,
    CutError,
    DataError,
    SegpruneError,
    StoreError,
    TrackingError,
    TrainingError,
)

if TYPE_CHECKING:
    from segprune.predict.predictor import Predictor, load

    __version__: str

__all__ = [
    "BudgetError",
    "CheckpointError",
    "ConfigError",
    "CutError",
    "DataError",
    "Predictor",
    "SegpruneError",
    "StoreError",
    "TrackingError",
    "TrainingError",
    "__version__",
    "load",
]


def __getattr__(name: str) -> object:
    """What is slow to import, when it is asked for: ``import segprune`` alone imports no torch."""
    if name == "__version__":
        from importlib.metadata import version

        return version("segprune")
    if name in ("load", "Predictor"):
        from segprune.predict import predictor

        return getattr(predictor, name)
    raise AttributeError(f"segprune has no {name!r}; there are {', '.join(__all__)}")
