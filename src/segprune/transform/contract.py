"""What a transform is: one of the steps by which a network was made of the dense one."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

from segprune.model.contract import SegmentationNet


@runtime_checkable
class Transform(Protocol):
    """A change of a network's structure that can be written down and done again.

    Attributes:
        kind: Its word in net.json, no other kind's.
    """

    kind: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """All that ``from_json`` needs, as plain JSON values."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The transform of such values.

        Raises:
            ValueError: They are no such values; a file may hold anything.
        """

    def replay(self, net: SegmentationNet) -> SegmentationNet:
        """A changed copy of a network that has gone through the transforms before this one.

        The structure follows from the arguments alone, whatever the weights are: a checkpoint is read by replaying
        its transforms on a network with other weights and loading the right ones afterwards.
        """

    def describe(self) -> str:
        """What it does, in a few words, for a row."""
