import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from segprune.__main__ import evaluation
from segprune.checkpoint import checkpoint
from segprune.dataset.contract import Bands
from segprune.deploy.about import about_data
from segprune.deploy.form import Form
from segprune.deploy.onnx_file import write_onnx
from segprune.errors import CheckpointError, ConfigError
from segprune.measure.passes import Passes
from segprune.result.row import Row
from segprune.run.chain import run_chain
from segprune.run.start import start_of_trail
from segprune.stage.contract import Context
from tests.run.test_ancestry import PRUNE, TRAIN, TUNE, chain, folder_of
from tests.run.test_assemble import settings
from tests.stage.test_eval import stage as evaluate
from tests.test_cli import TINY, run
from tests.tiny import tiny_context, tiny_data, tiny_net

pytestmark = pytest.mark.usefixtures("composer")
UNET = {"_target_": "segprune.model.unet.unet", "width": 4, "max_width": 8, "depth": 2}
UNET |= {"convs_per_level": 1, "upsample": "bilinear"}


def side_by_side(ctx: Context, baseline: Path, candidate: Path) -> dict[str, Row]:
    names = (f"baseline={baseline}", f"checkpoint={candidate}")
    wanted = settings("stages=[eval]", *names, "extensions=[tests]")
    _, rows = run_chain([evaluate()], ctx, start_of_trail(wanted, ctx))
    return {row.stage: row for row in rows}


@pytest.mark.slow
def test_two_networks_of_one_chain_are_compared_as_in_it(tmp_path: Path) -> None:
    trail, rows = chain(tiny_context(tmp_path), [TRAIN, PRUNE, TUNE])
    dense, pruned = trail[0].folder, trail[2].folder
    assert dense is not None
    assert pruned is not None
    ctx = tiny_context(tmp_path)
    found = side_by_side(ctx, dense, folder_of(trail))
    assert list(found) == ["baseline", "candidate"]
    for name in (
        "miou_percent",
        "miou_retention",
        "channels_kept",
        "channels_dense",
        "macs_kept",
        "logit_mse",
    ):
        assert found["candidate"][name] == rows["finetuned"][name]
    assert (found["candidate"].pruner, found["candidate"].ratio_asked) == ("l1", 0.5)
    assert {name.partition("/")[0] for name in ctx.store.computed} == {"eval"}
    # of two cut networks, one is compared with the other
    found = side_by_side(tiny_context(tmp_path), pruned, folder_of(trail))
    assert found["candidate"]["macs_kept"] == 1
    assert found["candidate"]["miou_retention"] == pytest.approx(
        rows["finetuned"]["miou_percent"] / rows["pruned"]["miou_percent"]
    )


@pytest.mark.slow
def test_networks_of_different_architectures_are_compared_without_their_channels(tmp_path: Path) -> None:
    from segprune.model.unet import unet

    classes = ["none", "red", "green", "blue"]
    for name, net, model in (
        ("toy", tiny_net(), {"_target_": "tests.toys.Residual"}),
        ("unet", unet(num_classes=4, **{key: UNET[key] for key in UNET if key != "_target_"}), UNET),
    ):
        (tmp_path / name).mkdir()
        about = {"classes": classes, "model": model}
        checkpoint.write(tmp_path / name, net, transforms=(), about=about)
    found = side_by_side(tiny_context(tmp_path), tmp_path / "toy", tmp_path / "unet")
    candidate = found["candidate"]
    assert (found["baseline"].model, candidate.model) == ("toy", "unet")
    assert (candidate["channels"], candidate["channels_kept"], candidate.pruner) == (None, None, None)
    assert candidate["macs_kept"] == candidate.number("macs") / found["baseline"].number("macs")
    assert candidate["logit_mse"] is not None


def test_a_network_for_other_classes_is_refused(tmp_path: Path) -> None:
    about = {"classes": ["cat"], "model": UNET}
    checkpoint.write(tmp_path, tiny_net(), transforms=(), about=about)
    with pytest.raises(CheckpointError, match=r"was made for the classes \['cat'\]"):
        side_by_side(tiny_context(tmp_path), tmp_path, tmp_path)


def exported(path: Path, form: Form, passes: Passes | None = None, **data: Any) -> Path:
    """A file of a small network for images of 16x16 px, in tiles of 8x8 px where there are passes."""
    said = replace(about_data(tiny_data(**data), form), passes=passes)
    size_hw = said.size_hw if passes is None else passes.size_hw(said.size_hw)
    write_onnx(tiny_net(), path, size_hw=size_hw, form=form, metadata=said.metadata(), fast=True)
    return path


@pytest.mark.slow
def test_a_file_beside_its_network_by_the_documented_command(tmp_path: Path) -> None:
    def segprune_eval(*arguments: str) -> subprocess.CompletedProcess[str]:
        flags, stages, overrides = evaluation(arguments)
        return run(tmp_path, *flags, *stages, *overrides, *TINY, "tracking=silent")

    def of_store(name: str) -> str:
        (path,) = (tmp_path / "store").glob(name)
        return str(path)

    made = run(tmp_path, "stages=[train,export]", "stage.export.fast=true", *TINY, "tracking=silent")
    assert made.returncode == 0, made.stderr
    dense, file = of_store("train/*/"), of_store("export/*/model.onnx")
    ended = segprune_eval(f"baseline={dense}", f"candidate={file}")
    assert ended.returncode == 0, ended.stderr
    # which is said of weights from elsewhere
    assert "model.checkpoint: mIoU" not in ended.stdout + ended.stderr
    place = max((tmp_path / "runs").glob("*/*/rows.jsonl"), key=lambda path: path.stat().st_mtime)
    baseline, candidate = map(json.loads, place.read_text().splitlines())
    assert (candidate["stage"], candidate["model"]) == ("candidate", "model.onnx")
    assert candidate["file_size_bytes"] == Path(file).stat().st_size
    for name in ("miou_percent", "dice_percent"):
        assert candidate[name] == pytest.approx(baseline[name], abs=0.1)  # a pixel or two of 4096 may differ
    alone = segprune_eval(f"candidate={file}")
    assert alone.returncode == 1
    assert f"checkpoint is {file}, a file, which is only evaluated beside another" in alone.stderr


@pytest.mark.slow
def test_a_file_for_other_images_is_refused_with_what_makes_it_work(tmp_path: Path) -> None:
    ctx, tiles = tiny_context(tmp_path), Passes(tile=(8, 8))
    in_tiles = replace(ctx, passes=tiles)
    checkpoint.write(
        tmp_path,
        tiny_net(),
        transforms=(),
        about={"classes": list(ctx.data.classes), "model": ctx.about["model"]},
    )
    whole = exported(tmp_path / "whole.onnx", Form())
    tiled = exported(tmp_path / "tiled.onnx", Form(), tiles)
    free = exported(tmp_path / "free.onnx", Form(dynamic=("batch", "height", "width")))
    bands = Bands(count=4, bits=8, mean=(0.5,) * 4, std=(0.2,) * 4)
    four = exported(tmp_path / "four.onnx", Form(), bands=bands)
    deep = exported(tmp_path / "deep.onnx", Form(), bands=replace(bands, count=3, bits=16))

    def names(here: Context, path: Path) -> list[str]:
        wanted = settings("stages=[eval]", f"baseline={tmp_path}", f"checkpoint={path}", "extensions=[tests]")
        return [state.name for state in start_of_trail(wanted, here)]

    for here, path in ((ctx, whole), (in_tiles, tiled), (ctx, free), (in_tiles, free)):
        assert names(here, path) == ["baseline", "candidate"]
    assert names(replace(ctx, passes=Passes(scales=(1.0, 1.5))), free) == ["baseline", "candidate"]
    for here, path, remedy in (
        (ctx, tiled, r"takes images of 8x8 px, the evaluation shows 16x16\. Give eval\.tile=\[8,8\]\.$"),
        (in_tiles, whole, r"16x16 px, .* 8x8\. Give eval\.tile=null dataset\.size_hw=\[16,16\]\.$"),
        (ctx, four, r"takes images of 4 bands of 8 bits, the dataset has 3 .* Give dataset\.bands=4\.$"),
        (ctx, deep, r"takes images of 3 bands of 16 bits, .* of 8 bits\. Give images of 16 bits\.$"),
    ):
        with pytest.raises(CheckpointError, match=remedy):
            names(here, path)
    with pytest.raises(ConfigError, match=r"eval\.scales is \[1\.0, 1\.5\]"):
        names(replace(ctx, passes=Passes(scales=(1.0, 1.5))), whole)
