"""Quantise: the dense and the last network in 8-bit integers, as files that a runtime executes."""

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from segprune.dataset.loading import calibration_batches
from segprune.deploy.about import About, about_data
from segprune.deploy.form import DEFAULT_FORM
from segprune.deploy.onnx_file import write_onnx
from segprune.deploy.parity import parity
from segprune.deploy.quantised import Target, quantise
from segprune.deploy.runtime import open_runner, refuse_missing
from segprune.durable import sha256
from segprune.errors import DataError
from segprune.measure.cost import cost
from segprune.result.files import DEPLOYED, INT8, ONNX
from segprune.result.row import INT8_SUFFIX
from segprune.seed import derive
from segprune.stage.contract import Context, Stage
from segprune.stage.dense import shell
from segprune.stage.deploy_json import FORMAT
from segprune.stage.identity import fingerprint_of, identity
from segprune.stage.kept import origin_of
from segprune.stage.state import NetState, Trail
from segprune.stage.trial import refuse_other_sizes

log = logging.getLogger(__name__)
SAME = 0.995
"""Fraction of the pixels in which integer kernels and their simulation must agree, else both are evaluated."""
_BATCH = 8
_KERNELS = ("avx2", "avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8")
"""What a CPU may have that changes how it multiplies 8-bit integers."""


@dataclass(frozen=True, kw_only=True)
class Quantise(Stage):
    """Quantise the first and the last network of the trail, so that rows answer: prune, quantise, or both?

    Attributes:
        target: Where the files shall run: they are of other integers for each.
        images: Unaugmented training images that the ranges of activations come from; as many more, if there are,
            compare the integers with the float network.
    """

    target: Target
    images: Annotated[int, Field(ge=1)]

    def refuse(self, ctx: Context, start: Trail) -> None:
        """Check that there are libraries and images, and write an untrained network, quickly.

        Raises:
            ConfigError: A library is missing, or the network cannot be written.
            DataError: There are no images to calibrate on.
        """
        refuse_missing(["onnx", "onnxscript", "onnxruntime"])
        if not len(ctx.data.calibration):
            raise DataError(
                f"stage.{self.word} needs training images for the ranges of activations, and {ctx.data.name} has "
                f"none. Give images, or leave {self.word} out of stages."
            )
        refuse_other_sizes(ctx, "the quantised file", "")
        net = start[-1].module if start else shell(ctx)
        with tempfile.TemporaryDirectory() as folder:
            write_onnx(net, Path(folder, ONNX), size_hw=ctx.pass_hw, fast=True)

    def __call__(self, ctx: Context, trail: Trail) -> Trail:
        """The trail and ``<name>_int8`` of its first and last network, before the last one, which stays the last.

        Where the integer kernels of this CPU and their exact simulation disagree, ``<name>_int8_simulated`` is
        there too, since the quality of the file is then not one number.
        """
        sources = {state.fingerprint: state for state in (trail[0], trail[-1])}.values()
        made = [state for source in sources for state in self._quantised(ctx, source)]
        place = max(len(trail) - 1, 1)
        return (*trail[:place], *made, *trail[place:])

    def _quantised(self, ctx: Context, source: NetState) -> Trail:
        inputs = {
            "stage": identity(self),
            "from": source.fingerprint,
            "data": ctx.data.identity.calibration,
            "size_hw": ctx.pass_hw,
            "says": _about(ctx).metadata(),
            "seed": ctx.seed,
            "machine": _kernels(),
        }
        key = fingerprint_of(ctx, self.word, inputs, self)
        entry = ctx.store.get(self.word, key, lambda folder: self._make(folder, ctx, source))
        ctx.tracker.tags({f"stage.{self.word}": origin_of(entry)})
        facts = json.loads((entry.folder / DEPLOYED).read_text(encoding="utf-8"))
        for name in (DEPLOYED, INT8):
            ctx.tracker.file(entry.folder / name, f"{self.word}/{source.name}")
        ctx.tracker.metrics({f"int8/{source.name}/{name}": value for name, value in _metrics(facts).items()})
        path = entry.folder / INT8
        state = replace(
            source,
            name=f"{source.name}{INT8_SUFFIX}",
            net=open_runner(path, threads=torch.get_num_threads()),
            fingerprint=entry.key,
            folder=None,
            accepted=source.accepted | entry.accepted,
            cost=cost(source.module, ctx.pass_hw),
            file_size_bytes=path.stat().st_size,
        )
        log.info("%s", _line(state.name, facts))
        if _is_one_number(facts):
            return (state,)
        log.warning("%s", _disagreement(state.name, facts))
        simulated = replace(
            state,
            name=f"{state.name}_simulated",
            net=open_runner(path, threads=torch.get_num_threads(), simulated=True),
            fingerprint=f"{entry.key}-simulated",
        )
        return (simulated, state)

    def _make(self, folder: Path, ctx: Context, source: NetState) -> None:
        calibrating, comparing = self._batches(ctx)
        about = _about(ctx)
        with tempfile.TemporaryDirectory() as place:
            exact = Path(place, ONNX)
            written = write_onnx(source.module, exact, size_hw=ctx.pass_hw, metadata=about.metadata())
            quantise(exact, folder / INT8, calibrating, target=self.target)
        kernels, simulated = (open_runner(folder / INT8, simulated=simulated) for simulated in (False, True))
        facts = {
            "format": FORMAT,
            "files": {INT8: {"sha256": sha256(folder / INT8), "bytes": (folder / INT8).stat().st_size}},
            **asdict(about),
            "network": {"name": source.name, "fingerprint": source.fingerprint},
            "quantised": {
                "target": self.target,
                "images": sum(map(len, calibrating)),
                "bytes_float": written.size_bytes,
                "machine": _kernels(),
                "kernels": asdict(parity(source.module, kernels, comparing)),
                "simulated": asdict(parity(source.module, simulated, comparing)),
                "kernels_by_simulated": asdict(parity(simulated, kernels, comparing)),
            },
        }
        (folder / DEPLOYED).write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")

    def _batches(self, ctx: Context) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Images to calibrate on, and others to compare on; the same where there are no others."""
        drawn = calibration_batches(
            ctx.data.calibration,
            count=2 * self.images,
            batch_size=_BATCH,
            seed=derive(ctx.seed, "quantise"),
        )
        height, width = ctx.pass_hw
        images = torch.cat([batch.image[..., :height, :width] for batch in drawn])
        others = images[self.images :] if len(images) > self.images else images
        return torch.split(images[: self.images], _BATCH), torch.split(others, _BATCH)


def _about(ctx: Context) -> About:
    """What the files say of themselves."""
    return replace(about_data(ctx.data, DEFAULT_FORM), passes=ctx.several_passes)


def _kernels() -> list[str]:
    """Of this CPU."""
    has = torch.cpu.get_capabilities()
    return [name for name in _KERNELS if has.get(name)]


def _is_one_number(facts: Mapping[str, Any]) -> bool:
    return bool(facts["quantised"]["kernels_by_simulated"]["argmax_agreement"] >= SAME)


def _line(name: str, facts: Mapping[str, Any]) -> str:
    size, count = facts["files"][INT8]["bytes"], facts["quantised"]["kernels"]["images"]
    share = size / facts["quantised"]["bytes_float"]
    return (
        f"{name}: {size / 1e6:.2f} MB, x{share:.2f} of the float file; {_agreement(facts, 'kernels'):.1f} % of the "
        f"pixels as the float network, on {count} training images"
    )


def _disagreement(name: str, facts: Mapping[str, Any]) -> str:
    return (
        f"{name}: the integer kernels of this CPU give {_agreement(facts, 'kernels'):.1f} % of the float network's "
        f"pixels, exact integers {_agreement(facts, 'simulated'):.1f} %, so that its quality here is not that "
        "elsewhere: both have a row. stage.quantise.target=avx2 makes files that are exact on any CPU."
    )


def _agreement(facts: Mapping[str, Any], of: str) -> float:
    """In percent of the pixels."""
    return float(100 * facts["quantised"][of]["argmax_agreement"])


def _metrics(facts: Mapping[str, Any]) -> dict[str, float]:
    shares = {
        "argmax_agreement_percent": "kernels",
        "argmax_agreement_percent_simulated": "simulated",
        "kernels_agreement_percent": "kernels_by_simulated",
    }
    size = facts["files"][INT8]["bytes"]
    return {
        **{name: round(_agreement(facts, of), 3) for name, of in shares.items()},
        "calibration_images": facts["quantised"]["images"],
        "file_size_bytes": size,
        "file_size_ratio": round(size / facts["quantised"]["bytes_float"], 4),
    }
