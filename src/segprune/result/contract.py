"""What a metric is, and what is measured of one network.

Who only reads metrics, as a report does, need not wait for torch: what computes is imported where it is called.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from segprune.measure.contract import TimedIn
    from segprune.measure.cost import Cost
    from segprune.measure.latency import Latency
    from segprune.measure.miou import SegmentationMetrics
    from segprune.measure.quality import Quality
    from segprune.measure.reconstruction import Reconstruction

Better = Literal["higher", "lower", "neutral"]
_SIGNIFICANT_DIGITS = 5


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What one network costs.

    Attributes:
        cost: Parameters and multiply-adds; ``None`` where nobody knows them, as the last two.
        latency: Times in PyTorch's eager mode, paired by round with those of the trail's other networks; ``None``
            where it was not timed there.
        file_size_bytes: Its deployed weights as a file.
        peak_memory_mb: Of one forward pass of a timed batch.
        others: Other runtimes -> times in them, likewise.
        timing: How the times were taken, in words.
        conv_inputs: Input channels of every convolution but for those that read the image; none of a runner, whose
            inside nobody knows.
    """

    cost: "Cost | None"
    latency: "Latency | None"
    file_size_bytes: int | None
    peak_memory_mb: float | None
    others: "Mapping[TimedIn, Latency]" = field(default_factory=dict)
    timing: str | None = None
    conv_inputs: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is measured of one network.

    Attributes:
        quality: What it predicts.
        footprint: What it costs.
        channels: Layer -> prunable channels that are left; empty where they are not known.
        size_hw: Height and width of the images.
        frames: How many report images follow another one like frames of a video, by their file names.
        budget: What the cut's ratio is a ratio of; ``None`` for a network that the run did not cut.
    """

    quality: "Quality"
    footprint: Footprint
    channels: Mapping[str, int]
    size_hw: tuple[int, int]
    frames: int
    budget: str | None

    @property
    def params(self) -> int | None:
        """Parameters; ``None`` where nobody knows them."""
        return None if self.footprint.cost is None else self.footprint.cost.params

    @property
    def macs(self) -> int | None:
        """Multiply-adds of one image; ``None`` likewise."""
        return None if self.footprint.cost is None else self.footprint.cost.macs

    @cached_property
    def segmentation(self) -> "SegmentationMetrics":
        """IoU and accuracy, of the pooled counts."""
        from segprune.measure.miou import segmentation_metrics

        return segmentation_metrics(self.quality.counts)

    @property
    def boundary_iou(self) -> float | None:
        """Mean over the classes that have a labelled border, a fraction; ``None`` if there is none."""
        from segprune.measure.boundary import boundary_iou

        return boundary_iou(self.quality.boundary).mean

    @property
    def reconstruction(self) -> "Reconstruction":
        """Its outputs against those of the trail's first network."""
        from segprune.measure.reconstruction import reconstruction

        return reconstruction(self.quality.reconstruction)

    def aligned(self, multiple: int) -> float | None:
        """Share of the convolutions whose input width is a multiple, but for those that read the image.

        ``None`` where there are no others.
        """
        inner = self.footprint.conv_inputs
        return sum(width % multiple == 0 for width in inner) / len(inner) if inner else None

    def latency(self, runtime: "TimedIn" = "eager") -> "Latency | None":
        """Its times in a runtime."""
        return self.footprint.latency if runtime == "eager" else self.footprint.others.get(runtime)

    def speedup(self, dense: "Measured", runtime: "TimedIn" = "eager") -> float | None:
        """The dense network's time by this one's, in one runtime."""
        from segprune.measure.latency import speedup

        whole, own = dense.latency(runtime), self.latency(runtime)
        return None if whole is None or own is None else speedup(whole, own)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One column of a row, and all that is known of it.

    Rows, JSON, CSV, MLflow, the report's table of metrics and the documentation follow from this.

    Attributes:
        name: The column; says its unit (``_percent``, ``_ms``) unless it is a count, fraction or factor.
        unit: The unit in words.
        better: Which direction is better.
        about: What it is, in one sentence without a full stop; for the documentation.
        get: (network, the trail's first network) -> value; ``None`` where it is not defined or was not measured.
        is_whole: Whether it is a whole number.
        least: Smallest possible value.
        most: Largest possible value.
        needs: Column without which it says nothing, or without more than 0 of it.
        is_relative: Whether it compares with the trail's first network already.
        is_timed: Whether a clock measures it, so that no two runs agree to the last digit.
        shown_as: Name and factor for people who read it in MLflow or in the report; without it a fraction is shown
            as ``<name>_percent``, and all else as it is.
        aliases: More names for it in MLflow, which saved views read.
    """

    name: str
    unit: str
    better: Better
    about: str
    get: Callable[[Measured, Measured], float | None]
    is_whole: bool = False
    least: float = 0
    most: float = math.inf
    needs: str = ""
    is_relative: bool = False
    is_timed: bool = False
    shown_as: tuple[str, float] | None = None
    aliases: tuple[str, ...] = ()

    @property
    def shown_name(self) -> str:
        """The name for people; says its unit."""
        return self._shown[0]

    def shown(self, value: float) -> float:
        """The value under that name, to five significant digits; a whole number stays as it is."""
        factor = self._shown[1]
        return value if self.is_whole and factor == 1 else float(f"{factor * value:.{_SIGNIFICANT_DIGITS}g}")

    def fault(self, value: object) -> str:
        """What is wrong with a value; empty if nothing is."""
        if isinstance(value, bool) or not isinstance(value, int if self.is_whole else int | float):
            return f"must be a {'whole number' if self.is_whole else 'number'}"
        if not math.isfinite(value):
            return "must be finite"
        if not self.least <= value <= self.most:
            return f"must be from {self.least:g} to {self.most:g}"
        return ""

    @property
    def _shown(self) -> tuple[str, float]:
        return self.shown_as or (
            (f"{self.name}_percent", 100.0) if self.unit == "fraction" else (self.name, 1)
        )
