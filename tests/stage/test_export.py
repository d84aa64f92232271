import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor

from segprune.durable import sha256
from segprune.errors import ConfigError
from segprune.model.contract import SegmentationNet
from segprune.result.row import Row
from segprune.stage.contract import Context
from segprune.stage.export import Export
from segprune.stage.state import Trail
from segprune.tracking.silent import SilentRun
from segprune.transform.registry import register
from tests.stage.test_eval import rows_of
from tests.stage.test_prune import dense
from tests.stage.test_prune import stage as prune
from tests.tiny import tiny_context
from tests.toys import Residual

pytestmark = pytest.mark.slow


def stage(**changes: object) -> Export:
    values: dict[str, object] = {
        "word": "export",
        "formats": ("onnx",),
        "dynamic": ("batch",),
        "output": "logits",
        "opset": 20,
        "align": None,
        "images": 4,
        "tolerance": 1e-4,
        "fast": True,
        "time_limit_s": 300.0,
    }
    return Export(**{**values, **changes})


def cut(ctx: Context) -> Trail:
    return prune()(ctx, dense())


def facts(trail: Trail) -> dict[str, object]:
    folder = next(state.folder for state in trail if state.name.endswith("_onnx"))
    return json.loads((folder / "deploy.json").read_text())


def by_name(rows: tuple[Row, ...]) -> dict[str, Row]:
    return {row.stage: row for row in rows}


class Spectral(Residual):
    """Has an operation that ONNX does not know."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) + torch.linalg.eigvals(image[:, :1, :16, :16]).real.mean()


@register
class Nothing:
    """A transform that is no cut."""

    kind = "nothing"

    def to_json(self) -> dict[str, object]:
        return {}

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> "Nothing":
        return cls()

    def replay(self, net: SegmentationNet) -> SegmentationNet:
        return net

    def describe(self) -> str:
        return "nothing"


class Recorder(SilentRun):
    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "seen", {})

    def metrics(self, values: Mapping[str, float], /, *, step: int | None = None) -> None:
        self.seen.update(values)

    def tags(self, values: Mapping[str, str], /) -> None:
        self.seen.update(values)

    def file(self, path: Path, /, folder: str = "") -> None:
        self.seen[f"{folder}/{path.name}"] = path.stat().st_size


def test_the_file_is_measured_as_the_network_that_it_was_made_of(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    before = cut(ctx)
    trail = stage()(ctx, before)
    assert [state.name for state in trail] == ["dense", "pruned_raw", "pruned_onnx", "pruned"]
    assert trail[-1] is before[-1]  # what next stages work on
    rows = by_name(rows_of(ctx, trail))
    file, net = rows["pruned_onnx"], rows["pruned"]
    for name in ("miou_percent", "boundary_iou_percent", "macs", "params", "channels", "ratio_reached"):
        assert file[name] == net[name], name
    assert file["logit_mse"] == pytest.approx(net["logit_mse"], rel=1e-4)
    assert (file.transforms, file.pruner) == (net.transforms, net.pruner)
    assert file["file_size_bytes"] == (trail[2].folder / "model.onnx").stat().st_size
    # it is timed where it runs, and all others there too, beside PyTorch
    assert (file["latency_ms_median"], file["speedup"], file["realisation_efficiency"]) == (None, None, None)
    assert file["speedup_onnxruntime"] > 0
    assert net["latency_onnxruntime_ms"] > 0
    assert net["speedup"] > 0


def test_a_network_alone_stays_the_first(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    trail = stage()(ctx, dense())
    assert [state.name for state in trail] == ["dense", "dense_onnx"]
    assert by_name(rows_of(ctx, trail))["dense_onnx"]["argmax_agreement_percent"] == 100


def test_deploy_json_says_all_that_a_user_of_the_file_needs(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    trail = stage(dynamic=("batch", "height", "width"))(ctx, cut(ctx))
    said = facts(trail)
    file = trail[2].folder / "model.onnx"
    assert said["files"] == {"model.onnx": {"sha256": sha256(file), "bytes": file.stat().st_size}}
    assert said["classes"] == ["none", "red", "green", "blue"]
    assert (said["palette"][1], said["ignore_index"], said["size_hw"]) == ([255, 0, 0], 255, [16, 16])
    assert (said["dynamic"], said["output"]) == (["batch", "height", "width"], "logits")
    assert said["network"]["fingerprint"] == trail[-1].fingerprint
    assert said["network"]["transforms"][0]["kind"] == "cut"
    assert said["onnx"] == {"opset": 20, "exporter": "torchscript", "nodes": len(onnx.load(file).graph.node)}
    assert {*said["parity"]} == {"onnxruntime", "openvino"}
    for one in said["parity"].values():
        assert one["images"] == 4 + 1 + 1  # two at a time, one alone, one of another size
        assert one["relative_error"] < 1e-5


def test_it_is_made_once_and_tracked_every_time(tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        ctx = replace(tiny_context(tmp_path), tracker=Recorder())
        stage()(ctx, cut(ctx))
        seen.append(ctx.tracker.seen)
    assert [one.pop("stage.export") for one in seen] == ["computed", "reused"]
    seen = [{name: value for name, value in one.items() if name.startswith("export/")} for one in seen]
    assert seen[0] == seen[1]
    assert seen[1]["export/model.onnx"] == seen[1]["export/file_size_bytes"]
    assert seen[1]["export/argmax_agreement_percent"] == 100
    assert "export/deploy.json" in seen[1]


def test_what_can_change_the_file_changes_its_fingerprint(tmp_path: Path) -> None:
    ctx, (state,) = tiny_context(tmp_path), dense()
    keys = {
        stage(**changes).key(ctx, state)
        for changes in ({}, {"opset": 18}, {"align": 8}, {"output": "argmax"}, {"fast": False})
    }
    assert len(keys) == 5


def test_a_file_that_predicts_otherwise_is_refused_and_not_kept(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    remedy = r"stage\.export\.tolerance is 1e-12\. No file was kept; .*stage\.export\.fast=false"
    with pytest.raises(ConfigError, match=rf"^the exported file does not predict in onnxruntime .*{remedy}"):
        stage(tolerance=1e-12)(ctx, cut(ctx))
    assert list(ctx.store.root.glob("export/**/*.onnx")) == []


def test_channels_come_back_as_zeros_for_runtimes_that_like_multiples(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    trail = stage(align=4)(ctx, cut(ctx))
    first = next(
        one
        for one in onnx.load(trail[2].folder / "model.onnx").graph.initializer
        if tuple(one.dims[1:]) == (3, 3, 3)
    )
    assert (trail[-1].module.stem[0].out_channels, first.dims[0]) == (3, 4)
    assert facts(trail)["network"]["aligned_to"] == 4
    rows = by_name(rows_of(ctx, trail))
    assert rows["pruned_onnx"]["macs"] > rows["pruned"]["macs"]
    assert rows["pruned_onnx"]["miou_percent"] == rows["pruned"]["miou_percent"]


def test_where_channels_were_is_known_after_cuts_only(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    *rest, last = cut(ctx)
    other = replace(last, transforms=(*last.transforms, Nothing()))
    with pytest.raises(
        ConfigError, match=r"align is 8, but pruned was made by more than cuts \(cut .*; nothing\)"
    ):
        stage(align=8)(ctx, (*rest, other))


def test_a_file_that_decides_by_itself_is_measured_too(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    trail = stage(output="argmax")(ctx, cut(ctx))
    assert facts(trail)["output"] == "argmax"
    for one in facts(trail)["parity"].values():
        assert (one["argmax_agreement"], one["relative_error"]) == (1.0, None)
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(trail[2].net(images).argmax(1), trail[-1].net(images).argmax(1))
    assert 0 < by_name(rows_of(ctx, trail))["pruned_onnx"]["miou_percent"] <= 100


@pytest.mark.slow
def test_a_program_of_torch_is_written_besides(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    said = facts(stage(formats=("onnx", "pt2"), fast=False)(ctx, cut(ctx)))
    assert {*said["files"]} == {"model.onnx", "model.pt2"}
    assert said["parity"]["pt2"]["relative_error"] < 1e-5
    assert said["onnx"]["exporter"] == "dynamo"


def test_what_cannot_be_exported_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = tiny_context(tmp_path)
    stage().refuse(ctx, ())
    stage().refuse(ctx, cut(ctx))
    with pytest.raises(ConfigError, match=r"^stage\.export\.formats is \['pt2'\]; onnx must be among them"):
        stage(formats=("pt2",)).refuse(ctx, ())
    with pytest.raises(ConfigError, match=r"the network cannot be written as ONNX \(torchscript: .*eigvals"):
        stage().refuse(tiny_context(tmp_path, build=Spectral), ())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match="onnxruntime is not installed"):
        stage().refuse(ctx, ())


def test_a_runner_is_no_network_to_export(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    trail = stage()(ctx, dense())
    with pytest.raises(ConfigError, match="dense_onnx is a runner"):
        stage()(ctx, trail)
