import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from segprune.deploy import runtime
from segprune.deploy.opened import open_file
from segprune.errors import ConfigError, DataError
from segprune.measure.cost import cost
from segprune.measure.passes import Passes
from segprune.result.files import INT8
from segprune.stage import quantise
from segprune.stage.quantise import Quantise
from segprune.stage.state import NetState, Trail
from segprune.transform.cut import Cut
from tests.stage.test_export import Recorder
from tests.tiny import tiny_context, tiny_data
from tests.toys import Residual, toy

pytestmark = pytest.mark.slow

CUT = Cut({"stem.0": (0, 1), "inner.0": (2,)})


def stage(**changes: Any) -> Quantise:
    return Quantise(**{"word": "quantise", "target": "avx2", "images": 4, **changes})


@pytest.fixture(scope="module")
def trail() -> Trail:
    net = toy(Residual).eval()
    dense = NetState(name="dense", net=net, transforms=(), fingerprint="dense")
    small = NetState(name="finetuned", net=CUT.replay(net), transforms=(CUT,), fingerprint="small")
    return dense, small


def test_the_dense_and_the_last_network_have_a_row_in_integers(tmp_path: Path, trail: Trail) -> None:
    ctx = tiny_context(tmp_path)
    made = stage()(ctx, trail)
    assert [state.name for state in made] == ["dense", "dense_int8", "finetuned_int8", "finetuned"]
    for source, state in ((made[0], made[1]), (made[3], made[2])):
        assert state.cost == cost(source.module, ctx.data.size_hw)
        assert state.transforms == source.transforms
        image = ctx.data.report[0].image[None]
        agreement = (state.net(image).argmax(1) == source.net(image).argmax(1)).float().mean()
        assert agreement > 0.9
    assert ctx.store.computed == [f"quantise/{made[1].fingerprint}", f"quantise/{made[2].fingerprint}"]
    (first, second) = sorted(
        (tmp_path / "store" / "quantise").glob(f"*/{INT8}"), key=lambda path: path.stat().st_size
    )
    assert first.stat().st_size == made[2].file_size_bytes < second.stat().st_size == made[1].file_size_bytes
    again = tiny_context(tmp_path)
    assert [state.fingerprint for state in stage()(again, trail)] == [state.fingerprint for state in made]
    assert again.store.computed == []


def test_what_is_tracked_says_whose_integers_it_is_of(tmp_path: Path, trail: Trail) -> None:
    ctx = replace(tiny_context(tmp_path), tracker=Recorder())
    made = {state.name: state for state in stage()(ctx, trail)}
    for name in ("dense", "finetuned"):
        size = made[f"{name}_int8"].file_size_bytes
        assert ctx.tracker.seen[f"int8/{name}/file_size_bytes"] == size
        assert f"quantise/{name}/{INT8}" in ctx.tracker.seen


def test_a_network_alone_stands_before_its_integers(tmp_path: Path, trail: Trail) -> None:
    assert [state.name for state in stage()(tiny_context(tmp_path), trail[:1])] == ["dense", "dense_int8"]


def test_where_kernels_and_simulation_disagree_both_have_a_row(
    tmp_path: Path, trail: Trail, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(quantise, "SAME", 1.01)  # so they never agree
    made = stage(target="vnni")(tiny_context(tmp_path), trail[:1])
    assert [state.name for state in made] == ["dense", "dense_int8_simulated", "dense_int8"]
    assert len({state.fingerprint for state in made}) == 3
    assert "dense_int8: the integer kernels of this CPU give " in caplog.text
    assert "stage.quantise.target=avx2 makes files that are exact on any CPU" in caplog.text


def test_what_was_quantised_how_is_written_beside_the_file(tmp_path: Path, trail: Trail) -> None:
    stage(images=6)(tiny_context(tmp_path), trail[:1])
    (path,) = (tmp_path / "store" / "quantise").glob("*/deploy.json")
    facts = json.loads(path.read_text())
    quantised = facts["quantised"]
    assert (facts["classes"], quantised["target"], quantised["images"]) == (
        list(tiny_data().classes),
        "avx2",
        6,
    )
    assert quantised["kernels"]["images"] == 2  # of 8 images, those that are left
    assert facts["files"][INT8]["bytes"] == (path.parent / INT8).stat().st_size
    assert quantised["kernels_by_simulated"]["argmax_agreement"] > 0.99
    assert open_file(path.parent / INT8)[1].classes == tiny_data().classes  # the file says it, too


@pytest.mark.parametrize("change", [{"target": "tensorrt"}, {"images": 5}])
def test_another_file_has_another_fingerprint(tmp_path: Path, trail: Trail, change: dict[str, Any]) -> None:
    one, other = (stage(**how)(tiny_context(tmp_path), trail[:1])[-1] for how in ({}, change))
    assert one.fingerprint != other.fingerprint


def test_a_file_with_other_colours_or_passes_has_another_fingerprint(tmp_path: Path, trail: Trail) -> None:
    ctx = tiny_context(tmp_path)
    recoloured = replace(ctx, data=tiny_data(palette=((9, 9, 9),) * 4))
    for one in (ctx, recoloured, replace(ctx, passes=Passes(flips=True))):
        stage()(one, trail[:1])
    files = (tmp_path / "store" / "quantise").glob(f"*/{INT8}")
    said = {(about.palette[0], about.passes is None) for about in (open_file(path)[1] for path in files)}
    assert said == {((0, 0, 0), True), ((9, 9, 9), True), ((0, 0, 0), False)}


def test_what_is_missing_is_told_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = tiny_context(tmp_path)
    stage().refuse(ctx, ())
    empty = replace(ctx, data=tiny_data(calibration=[]))
    with pytest.raises(
        DataError, match=r"stage\.quantise needs training images.*leave quantise out of stages"
    ):
        stage().refuse(empty, ())
    monkeypatch.setattr(runtime, "available", lambda name: name != "onnxruntime")
    with pytest.raises(
        ConfigError, match=r"onnxruntime is not installed; give: pip install 'segprune\[deploy\]'"
    ):
        stage().refuse(ctx, ())


def test_a_runner_is_not_quantised_again(tmp_path: Path, trail: Trail) -> None:
    alone = replace(trail[0], net=torch.nn.Identity())
    with pytest.raises(ConfigError, match=r"is a runner \(Identity\), which can only be evaluated"):
        stage()(tiny_context(tmp_path), (alone,))
