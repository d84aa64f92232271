"""How long the networks of one trail take, in every runtime in turns."""

import tempfile
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field

from segprune.deploy.form import Planes
from segprune.deploy.ready import Place, device_of, ready, refuse_unusable, usual, version_of
from segprune.errors import ConfigError, SegpruneError
from segprune.measure.contract import TimedIn
from segprune.measure.latency import Latency, Timing, interleaved
from segprune.model.contract import Predicts, SegmentationNet
from segprune.seed import derive
from segprune.stage.contract import Context

Runtimes = Literal["auto"] | Annotated[tuple[TimedIn, ...], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class Times:
    """What was timed.

    Attributes:
        latencies: Runtime -> structure -> its times, paired by round within the runtime.
        missing: Runtime -> why nothing was timed in it.
    """

    latencies: dict[TimedIn, Mapping[Hashable, Latency]] = field(default_factory=dict)
    missing: dict[TimedIn, str] = field(default_factory=dict)

    def of(self, structure: Hashable) -> dict[TimedIn, Latency]:
        """Runtime -> times of a structure."""
        return {runtime: found[structure] for runtime, found in self.latencies.items() if structure in found}

    def describe(self) -> str:
        """Runtimes with their versions, and why others are not among them."""
        versions = [f"{runtime} ({version_of(runtime)})" for runtime in self.latencies]
        reasons = [f"{runtime} not timed: {why}" for runtime, why in self.missing.items()]
        return "; ".join([", ".join(versions), *reasons])


def times_of(ctx: Context, nets: Mapping[Hashable, Predicts], timing: Timing, runtimes: Runtimes) -> Times:
    """Time networks of different structures in turns within each runtime.

    A runner of a file is timed in the runtime that it is of, and one that does not say so in eager mode; a file of
    class ids as it gives them.

    Args:
        ctx: The run.
        nets: Structure -> network; the first one is what others are compared with.
        timing: How carefully.
        runtimes: Which; of the automatic ones, those that are not installed or cannot run a network are left out.

    Raises:
        SegpruneError: A runtime that was asked for cannot run a network.
    """
    found, device = Times(), ctx.hardware.device
    for runtime in _wanted(runtimes, nets, device):
        try:
            found.latencies[runtime] = _timed(ctx, nets, timing, runtime)
        except SegpruneError as error:
            if runtimes != "auto" and runtime in runtimes:
                raise
            found.missing[runtime] = str(error).removesuffix(".")
    return found


def versions(runtimes: Runtimes, device: torch.device) -> dict[TimedIn, str | None]:
    """Chosen runtimes with their versions, for fingerprints; None for one that is not there."""
    found: dict[TimedIn, str | None] = {}
    for runtime in usual(device) if runtimes == "auto" else runtimes:
        try:
            refuse_unusable(runtime, device_of(runtime, device))
            found[runtime] = version_of(runtime)
        except SegpruneError:
            found[runtime] = None
    return found


def refuse_runtimes(ctx: Context, net: Predicts, runtimes: Sequence[TimedIn], key: str) -> None:
    """Check that a network runs in runtimes, by doing it; compiling takes too long for that.

    Args:
        ctx: The run.
        net: A network like those that will be timed.
        runtimes: The runtimes.
        key: Which key gives them.

    Raises:
        ConfigError: It does not.
    """
    once = Timing(batch_size=1, rounds=1, warmup=0)
    for runtime in runtimes:
        try:
            refuse_unusable(runtime, device_of(runtime, ctx.hardware.device))
            if runtime not in ("compile", "tensorrt"):
                _timed(ctx, {"": net}, once, runtime)
        except SegpruneError as error:
            raise ConfigError(f"{key} has {runtime}: {error}") from error


def _wanted(
    runtimes: Runtimes, nets: Mapping[Hashable, Predicts], device: torch.device
) -> tuple[TimedIn, ...]:
    own = [_runtime_of(_bare(net)) for net in nets.values() if not isinstance(net, SegmentationNet)]
    chosen = usual(device) if runtimes == "auto" else runtimes
    return tuple(dict.fromkeys([*chosen, *own]))


def _bare(net: Predicts) -> Predicts:
    """What is timed of a predictor: of a file of class ids the file, without the logits that are made of them."""
    return net.ids if isinstance(net, Planes) else net


def _runtime_of(runner: Predicts) -> TimedIn:
    return getattr(runner, "runtime", "eager")


def _timed(
    ctx: Context, nets: Mapping[Hashable, Predicts], timing: Timing, runtime: TimedIn
) -> Mapping[Hashable, Latency]:
    device, size_hw = device_of(runtime, ctx.hardware.device), ctx.pass_hw
    refuse_unusable(runtime, device)
    made = {name: net for name, net in nets.items() if isinstance(net, SegmentationNet)}
    image = torch.rand(timing.batch_size, ctx.data.bands_count, *size_hw, device=device)
    with tempfile.TemporaryDirectory() as folder:
        place = Place(image=image, threads=timing.threads, folder=Path(folder))
        runners = dict(zip(made, ready(list(made.values()), runtime, place), strict=True))
        own = {name: _bare(net) for name, net in nets.items() if name not in made}
        runners |= {name: net for name, net in own.items() if _runtime_of(net) == runtime}
        times = interleaved(
            [runners[name] for name in nets if name in runners],
            timing,
            size_hw=size_hw,
            bands=ctx.data.bands_count,
            device=device,
            seed=derive(ctx.seed, "latency"),
        )
    return dict(zip([name for name in nets if name in runners], times, strict=True))
