"""The size in which networks of a run are shown images."""

from dataclasses import dataclass

from segprune.dataset.contract import SegData
from segprune.measure.passes import Passes


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A dataset, and how its images are shown.

    Attributes:
        data: The dataset.
        passes: How images of the report and select roles are shown to networks.
    """

    data: SegData
    passes: Passes

    @property
    def pass_hw(self) -> tuple[int, int]:
        """(H, W) in px of one forward pass in evaluation, of which costs and times are: a tile, or an image."""
        return self.passes.size_hw(self.data.size_hw)

    @property
    def several_passes(self) -> Passes | None:
        """The passes, where an image is not shown in a single one."""
        return None if self.passes.is_single else self.passes
