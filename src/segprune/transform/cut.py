"""The removal of channels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field, TypeAdapter

from segprune.graph import cut as graph
from segprune.graph.group import PrunePlan
from segprune.graph.wiring import TRACE_SIZE_HW
from segprune.model.contract import SegmentationNet
from segprune.transform.registry import register

Plan = dict[str, list[Annotated[int, Field(ge=0, strict=True)]]]
"""A plan as JSON has it."""
Size = tuple[Annotated[int, Field(ge=1, le=1 << 16)], Annotated[int, Field(ge=1, le=1 << 16)]]


@register
@dataclass(frozen=True)
class Cut:
    """Channels removed by a plan.

    Attributes:
        plan: In the channels of the network that is cut.
        size_hw: (H, W) in px of the images that the network was followed on.
    """

    kind: ClassVar[str] = "cut"
    plan: PrunePlan
    size_hw: tuple[int, int] = TRACE_SIZE_HW

    def to_json(self) -> dict[str, Any]:
        """The plan and the size."""
        plan = {name: list(channels) for name, channels in self.plan.items()}
        return {"plan": plan, "size_hw": list(self.size_hw)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Cut":
        """The cut of a plan; whether a network has these channels is not known yet.

        Raises:
            ValueError: It is no plan.
        """
        plan = TypeAdapter(Plan).validate_python(values.get("plan"))
        size_hw = TypeAdapter(Size).validate_python(values.get("size_hw", TRACE_SIZE_HW))
        return cls({name: tuple(channels) for name, channels in plan.items()}, size_hw)

    def replay(self, net: SegmentationNet) -> SegmentationNet:
        """A smaller copy of the network.

        Raises:
            BudgetError: A group of the plan is not a layer of the network, or would lose all its channels.
        """
        return graph.cut(net, self.plan, self.size_hw)

    def describe(self) -> str:
        """How many channels of how many layers went."""
        removed = [len(channels) for channels in self.plan.values() if channels]
        return f"cut {sum(removed)} channels of {len(removed)} layers"
