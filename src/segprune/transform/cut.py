"""The removal of channels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field, TypeAdapter

from segprune.graph import cut as graph
from segprune.graph.group import PrunePlan
from segprune.model.contract import SegmentationNet
from segprune.transform.registry import register

Plan = dict[str, list[Annotated[int, Field(ge=0, strict=True)]]]
"""A plan as JSON has it."""
_PLAN = TypeAdapter(Plan)


@register
@dataclass(frozen=True)
class Cut:
    """Channels removed by a plan.

    Attributes:
        plan: In the channels of the network that is cut.
    """

    kind: ClassVar[str] = "cut"
    plan: PrunePlan

    def to_json(self) -> dict[str, Any]:
        """The plan."""
        return {"plan": {name: list(channels) for name, channels in self.plan.items()}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Cut":
        """The cut of a plan; whether a network has these channels is not known yet.

        Raises:
            ValueError: It is no plan.
        """
        plan = _PLAN.validate_python(values.get("plan"))
        return cls({name: tuple(channels) for name, channels in plan.items()})

    def replay(self, net: SegmentationNet) -> SegmentationNet:
        """A smaller copy of the network.

        Raises:
            BudgetError: A group of the plan is not a layer of the network, or would lose all its channels.
        """
        return graph.cut(net, self.plan)

    def describe(self) -> str:
        """How many channels of how many layers went."""
        removed = [len(channels) for channels in self.plan.values() if channels]
        return f"cut {sum(removed)} channels of {len(removed)} layers"
