"""What the networks of one trail predict, cost and take, measured side by side."""

import json
from collections.abc import Hashable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

from safetensors.torch import load_file, save_file

from segprune.measure.answers import Answers
from segprune.measure.contract import TimedIn
from segprune.measure.cost import conv_inputs, file_size_bytes, total
from segprune.measure.itemise import itemise
from segprune.measure.latency import Latency, Timing
from segprune.measure.memory import inference_peak_mb
from segprune.measure.quality import Quality, Rules, assess
from segprune.model.contract import SegmentationNet
from segprune.result.contract import Footprint
from segprune.stage.contract import Context
from segprune.stage.identity import fingerprint_of
from segprune.stage.state import NetState, Trail
from segprune.stage.times import Runtimes, times_of
from segprune.store.fingerprint import Fingerprint
from segprune.transform.cut import Cut
from segprune.transform.registry import to_record

WORD, QUALITY = "quality", "quality.safetensors"
WITHOUT = (
    *("deploy", "measure.contract", "measure.cost", "measure.itemise", "measure.latency", "measure.memory"),
    *("measure.runners", "result.contract", "stage.times", "transform"),
)
"""What a network costs and what made it is no part of what it predicts."""
_of_reference = Answers()
"""Those of the last reference in this process, which the jobs of a sweep share."""


def qualities(ctx: Context, trail: Trail, rules: Rules, batch_size: int) -> dict[str, Quality]:
    """Name -> what the network predicts on the report split, against the first network of the trail.

    Each is measured once, however many runs share the network: the first that is not in the store yet is measured
    in one pass with all that follow it.
    """
    measured: dict[str, Quality] = {}
    device, reference = ctx.hardware.device, trail[0].net
    if device.type == "cpu":
        reference = _of_reference.of(reference, trail[0].fingerprint)

    def make(folder: Path, position: int) -> None:
        name = trail[position].name
        if name not in measured:
            rest = trail[position:]
            found = assess(
                [reference if state is trail[0] else state.net for state in rest],
                reference,
                ctx.data,
                rules,
                batch_size=batch_size,
                workers=ctx.hardware.workers,
                device=device,
                passes=ctx.passes,
            )
            measured.update(zip([state.name for state in rest], found, strict=True))
        save_file(
            {key: tensor.contiguous() for key, tensor in vars(measured[name]).items()}, folder / QUALITY
        )

    stored: dict[str, Quality] = {}
    for position, (name, key) in enumerate(quality_keys(ctx, trail, rules, batch_size).items()):
        entry = ctx.store.get(WORD, key, partial(make, position=position))
        stored[name] = Quality(**load_file(entry.folder / QUALITY))
    return stored


def quality_keys(ctx: Context, trail: Trail, rules: Rules, batch_size: int) -> dict[str, Fingerprint]:
    """Name -> fingerprint of what the network predicts.

    The libraries of a GPU choose other algorithms, which round otherwise, for another number of images.
    """
    device = ctx.hardware.device
    inputs = {
        "data": ctx.data.identity.report,
        "rules": asdict(rules),
        "passes": ctx.passes.record(),
        "reference": trail[0].fingerprint,
        "device": device.type,
        **({"batch_size": batch_size} if device.type == "cuda" else {}),
    }
    return {
        state.name: fingerprint_of(ctx, WORD, {**inputs, "net": state.fingerprint}, __name__, without=WITHOUT)
        for state in trail
    }


def footprints(ctx: Context, trail: Trail, timing: Timing, runtimes: Runtimes) -> dict[str, Footprint]:
    """Name -> what the network costs; networks of the same widths are measured once."""
    structures = {state.name: _structure(state) for state in trail}
    distinct = {structures[state.name]: state for state in trail}
    nets = {structure: state.net for structure, state in distinct.items()}
    times = times_of(ctx, nets, timing, runtimes)
    said = f"{timing.describe()}; {times.describe()}"
    found = {
        structure: _footprint(ctx, state, times.of(structure), said, timing.batch_size)
        for structure, state in distinct.items()
    }
    return {name: found[structure] for name, structure in structures.items()}


def _structure(state: NetState) -> Hashable:
    """Equal for networks that cost the same: of equal widths, after equal transforms other than cuts."""
    if not isinstance(state.net, SegmentationNet):
        return state.name
    others = [to_record(made_by) for made_by in state.transforms if not isinstance(made_by, Cut)]
    return tuple(p.shape for p in state.net.parameters()), json.dumps(others)


def _footprint(
    ctx: Context, state: NetState, times: Mapping[TimedIn, Latency], said: str, batch_size: int
) -> Footprint:
    net, size_hw = state.net, ctx.pass_hw
    latency = times.get("eager")
    others: dict[TimedIn, Latency] = {name: other for name, other in times.items() if name != "eager"}
    if not isinstance(net, SegmentationNet):
        return Footprint(
            cost=state.cost,
            latency=latency,
            file_size_bytes=state.file_size_bytes,
            peak_memory_mb=None,
            others=others,
            timing=said,
        )
    memory = inference_peak_mb(
        net, size_hw=size_hw, batch_size=batch_size, device=ctx.hardware.device, bands=net.bands
    )
    items = itemise(net, size_hw)
    return Footprint(
        cost=total(items),
        latency=latency,
        file_size_bytes=file_size_bytes(net),
        peak_memory_mb=memory,
        others=others,
        timing=said,
        conv_inputs=conv_inputs(net, items),
    )
