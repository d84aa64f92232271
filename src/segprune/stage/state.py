"""A network at one point of the chain, and all of them in order."""

from dataclasses import dataclass
from pathlib import Path

from segprune.checkpoint.ancestry import Ancestry
from segprune.errors import ConfigError
from segprune.measure.cost import Cost
from segprune.model.contract import Predicts, SegmentationNet
from segprune.transform.contract import Transform


@dataclass(frozen=True, kw_only=True)
class NetState:
    """A network at one point of the chain.

    Attributes:
        name: As in its row: ``dense``, ``pruned``, ``finetuned`` ...; ``start`` where a chain starts from a network
            of which that is not known.
        net: The network, or a runner of a deployed file; nobody changes it in place.
        transforms: What turned the dense network into it, in order.
        fingerprint: Hash of everything that made it.
        folder: Where its checkpoint is; None for a network without one of its own.
        accepted: The stages whose results, computed by other code, libraries or another GPU, were accepted on the
            way to it.
        cost: Of a runner, if the stage that made it knows; that of a network is counted.
        file_size_bytes: Size of a runner's file, likewise.
        training: How the last training on the way to it computed, as in rows; None where that is not known.
        model: Its architecture, where that is not the run's; None: it is.
        ancestry: Its dense network and the steps since; None where that is not known. The chain adds it.
    """

    name: str
    net: Predicts
    transforms: tuple[Transform, ...]
    fingerprint: str
    folder: Path | None = None
    accepted: frozenset[str] = frozenset()
    cost: Cost | None = None
    file_size_bytes: int | None = None
    training: str | None = None
    model: str | None = None
    ancestry: Ancestry | None = None

    @property
    def module(self) -> SegmentationNet:
        """The network, for those who train, cut or probe it.

        Raises:
            ConfigError: There is only a runner.
        """
        if isinstance(self.net, SegmentationNet):
            return self.net
        raise ConfigError(
            f"{self.name} is a runner ({type(self.net).__name__}), which can only be evaluated. In stages, put "
            "those that train or cut before the one that makes it."
        )


Trail = tuple[NetState, ...]
"""Every network of the chain so far, in order; the next stage takes the last one."""
