from pathlib import Path

import pytest

from segprune.checkpoint import checkpoint
from segprune.errors import CheckpointError
from segprune.result.row import Row
from segprune.run.chain import run_chain
from segprune.run.start import start_of_trail
from segprune.stage.contract import Context
from tests.run.test_ancestry import PRUNE, TRAIN, TUNE, chain, folder_of
from tests.run.test_assemble import settings
from tests.stage.test_eval import stage as evaluate
from tests.tiny import tiny_context, tiny_net

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
