"""Export: the last network as a file for other runtimes, proven to predict there what it predicts here."""

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor

from segprune.dataset.loading import calibration_batches
from segprune.deploy.about import about_data
from segprune.deploy.form import Axis, Form, Output
from segprune.deploy.mlmodel import MLMODEL, mlmodel
from segprune.deploy.onnx_file import Written, write_onnx
from segprune.deploy.opened import open_file
from segprune.deploy.parity import Parity, parity
from segprune.deploy.pt2_file import open_pt2, write_pt2
from segprune.deploy.runtime import RUNTIMES, Runtime, available, open_runner, refuse_missing
from segprune.errors import ConfigError
from segprune.graph.pad import padded
from segprune.graph.trace import trace
from segprune.measure.cost import Cost, cost
from segprune.model.contract import Predicts, SegmentationNet
from segprune.model.copies import duplicate
from segprune.result.files import DEPLOYED, ONNX, PT2
from segprune.stage import deploy_json
from segprune.stage.contract import Context, Stage
from segprune.stage.dense import shell
from segprune.stage.identity import fingerprint_of, identity
from segprune.stage.kept import origin_of
from segprune.stage.state import NetState, Trail
from segprune.stage.trial import refuse_other_sizes
from segprune.store.fingerprint import Fingerprint
from segprune.store.store import Entry
from segprune.transform.cut import Cut

log = logging.getLogger(__name__)
LARGER_BY: Mapping[Axis, int] = {"height": 7, "width": 13}
"""Pixels added to an image, to try a file whose height or width is free at another size."""


@dataclass(frozen=True, kw_only=True)
class Export(Stage):
    """Write the last network of the trail as files, and compare what they predict on real images.

    Attributes:
        formats: ``onnx``, and besides ``pt2``, a program of ``torch.export``.
        dynamic: Axes of the images whose size is free when a file is used; the others are fixed, the batch to 1.
        output: ``logits``, or ``argmax``: class ids.
        opset: Version of ONNX's operators.
        align: Bring removed channels back as zeros, up to a multiple of so many; None: as the network is.
        images: Calibration images on which a file is compared with the network.
        tolerance: Largest difference of two logits, as a fraction of the largest logit; of class ids, the fraction
            of pixels that may differ.
        fast: Use the older exporter.
        time_limit_s: After how many seconds an export is given up.
    """

    formats: tuple[Literal["onnx", "pt2"], ...]
    dynamic: tuple[Axis, ...]
    output: Output
    opset: Annotated[int, Field(ge=17, le=20)]
    align: PositiveInt | None
    images: Annotated[int, Field(ge=2)]
    tolerance: Annotated[float, Field(gt=0, lt=1)]
    fast: bool
    time_limit_s: Annotated[float, Field(gt=0)]

    def refuse(self, ctx: Context, start: Trail) -> None:
        """Write and run an untrained network, quickly, so that what cannot be exported is known before training.

        Raises:
            ConfigError: A library is missing, ONNX is left out, or the network cannot be written.
            CheckpointError: A runtime cannot run the file.
        """
        if "onnx" not in self.formats:
            raise ConfigError(
                f"stage.{self.word}.formats is {list(self.formats)}; onnx must be among them, since the row of the "
                f"file is measured with it. Give stage.{self.word}.formats=[onnx,pt2]."
            )
        refuse_missing(["onnx", "onnxscript", "onnxruntime"])
        if not {"height", "width"} <= {*self.dynamic}:
            free = f"; or stage.{self.word}.dynamic=[batch,height,width]"
            refuse_other_sizes(ctx, "the exported file", free)
        net = start[-1].module if start else shell(ctx)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, ONNX)
            self._try(net, path, ctx)
            for name in _runtimes():
                open_runner(path, name)(torch.zeros(1, ctx.data.bands_count, *ctx.pass_hw))

    def _try(self, net: SegmentationNet, path: Path, ctx: Context) -> None:
        """Write a file by the quick exporter, or by the other one if that knows more."""
        try:
            self._write(net, path, ctx, {}, fast=True)
        except ConfigError:
            if self.fast:
                raise
            self._write(net, path, ctx, {}, fast=False)

    def __call__(self, ctx: Context, trail: Trail) -> Trail:
        """The trail and a runner of the file.

        The runner stands before the network that it was made of, which stays the last one: it is what next stages
        work on, and what the run is about. Only the first network of all keeps its place before it.
        """
        source = trail[-1]
        source.module  # noqa: B018 - refuses a runner
        entry = ctx.store.get(
            self.word, self.key(ctx, source), lambda folder: self._make(folder, ctx, source)
        )
        ctx.tracker.tags({f"stage.{self.word}": origin_of(entry)})
        facts = json.loads((entry.folder / DEPLOYED).read_text(encoding="utf-8"))
        log.info("%s", deploy_json.line(facts))
        ctx.tracker.metrics(deploy_json.metrics(self.word, facts))
        for name in (DEPLOYED, MLMODEL, *facts["files"]):
            ctx.tracker.file(entry.folder / name, self.word)
        place = max(len(trail) - 1, 1)
        return (*trail[:place], _state(entry, source, facts), *trail[place:])

    def key(self, ctx: Context, source: NetState) -> Fingerprint:
        """Fingerprint of the files of a network."""
        inputs = {
            "stage": identity(self),
            "from": source.fingerprint,
            "data": ctx.data.identity.calibration,
            "size_hw": ctx.pass_hw,
            "passes": ctx.passes.record(),
            "labels": [ctx.data.classes, ctx.data.palette, ctx.data.ignore_index],
            "seed": ctx.seed,
            "runtimes": _versions(),
        }
        return fingerprint_of(ctx, self.word, inputs, self)

    @property
    def _form(self) -> Form:
        return Form(dynamic=self.dynamic, output=self.output, opset=self.opset)

    def _make(self, folder: Path, ctx: Context, source: NetState) -> None:
        whole, images = duplicate(source.module).cpu().eval(), list(self._images(ctx))
        net = self._aligned(whole, ctx, source)
        about, size_hw = replace(about_data(ctx.data, self._form), passes=ctx.several_passes), ctx.pass_hw
        try:
            written = self._write(net, folder / ONNX, ctx, about.metadata(), fast=self.fast)
            runners: dict[str, Predicts] = {name: open_file(folder / ONNX, name)[0] for name in _runtimes()}
            if "pt2" in self.formats:
                write_pt2(net, folder / PT2, size_hw, form=self._form, time_limit_s=self.time_limit_s)
                runners["pt2"] = open_pt2(folder / PT2, self._form, len(about.classes))
            found = {name: self._proven(whole, run, images, name) for name, run in runners.items()}
        except BaseException:
            for name in (ONNX, PT2):  # a file that was not proven is of no use
                (folder / name).unlink(missing_ok=True)
            raise
        facts = {
            **deploy_json.of_files(folder),
            **asdict(about),
            "network": {
                **deploy_json.of_network(source, ctx),
                "aligned_to": self.align,
                **asdict(cost(net, size_hw)),
            },
            "onnx": {"opset": written.opset, "exporter": written.exporter, "nodes": written.nodes},
            "parity": deploy_json.of_parity(found, self.output),
            "tolerance": self.tolerance,
            "versions": {"torch": version("torch"), "segprune": version("segprune"), **_versions()},
        }
        (folder / MLMODEL).write_text(mlmodel(ONNX, bands=about.bands, bits=about.bits), encoding="utf-8")
        (folder / DEPLOYED).write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")

    def _write(
        self, net: SegmentationNet, path: Path, ctx: Context, metadata: Mapping[str, str], *, fast: bool
    ) -> Written:
        return write_onnx(
            net,
            path,
            size_hw=ctx.pass_hw,
            form=self._form,
            metadata=metadata,
            fast=fast,
            time_limit_s=self.time_limit_s,
        )

    def _aligned(self, net: SegmentationNet, ctx: Context, source: NetState) -> SegmentationNet:
        """The network, with zeros where removed channels come back.

        Raises:
            ConfigError: It was not made by cuts alone, so that nobody knows where they were.
        """
        if self.align is None or not source.transforms:
            return net
        plans = [made_by.plan for made_by in source.transforms if isinstance(made_by, Cut)]
        if len(plans) < len(source.transforms):
            raise ConfigError(
                f"stage.{self.word}.align is {self.align}, but {source.name} was made by more than cuts "
                f"({'; '.join(one.describe() for one in source.transforms)}). Give stage.{self.word}.align=null."
            )
        dense = shell(ctx).cpu()
        return padded(net, dense, trace(dense), plans, self.align)

    def _images(self, ctx: Context) -> Iterator[Tensor]:
        """Real images: two at a time, one alone, and one of another size where the size is free."""
        drawn = calibration_batches(ctx.data.calibration, count=self.images, batch_size=2, seed=ctx.seed)
        height, width = ctx.pass_hw
        yield from (batch.image[..., :height, :width] for batch in drawn)
        first = drawn[0].image[:1, :, :height, :width]
        yield first
        rows, columns = (by if axis in self.dynamic else 0 for axis, by in LARGER_BY.items())
        if rows or columns:
            yield F.pad(first, (0, columns, 0, rows), mode="replicate")

    def _proven(self, net: SegmentationNet, run: Predicts, images: Sequence[Tensor], where: str) -> Parity:
        """How nearly a file is the network.

        Raises:
            ConfigError: It is not.
        """
        found = parity(net, run, images)
        if self.output == "logits":
            error = found.relative_error
            what = f"logits differ by up to {error:.2g} of the largest one"
        else:
            error = 1 - found.argmax_agreement
            what = f"class ids differ at {error:.2g} of the pixels"
        if not error <= self.tolerance:
            raise ConfigError(
                f"the exported file does not predict in {where} what the network does: {what}, and "
                f"stage.{self.word}.tolerance is {self.tolerance:g}. No file was kept; for model.onnx try the "
                f"other exporter, stage.{self.word}.fast={str(not self.fast).lower()}, or another opset."
            )
        return found


def _state(entry: Entry, source: NetState, facts: Mapping[str, Any]) -> NetState:
    """The file as what eval measures."""
    run, _ = open_file(entry.folder / ONNX, threads=torch.get_num_threads())
    return NetState(
        name=f"{source.name}_onnx",
        net=run,
        transforms=source.transforms,
        fingerprint=entry.key,
        folder=entry.folder,
        accepted=source.accepted | entry.accepted,
        cost=Cost(params=facts["network"]["params"], macs=facts["network"]["macs"]),
        file_size_bytes=facts["files"][ONNX]["bytes"],
        training=source.training,
    )


def _versions() -> dict[str, str]:
    """Of what writes and of what runs the files."""
    return {name: version(name) for name in ("onnx", "onnxscript", *_runtimes())}


def _runtimes() -> list[Runtime]:
    return [name for name in RUNTIMES if available(name)]
