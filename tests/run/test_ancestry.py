import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from segprune.checkpoint.contract import ANCESTRY
from segprune.result.row import Row
from segprune.run.chain import run_chain
from segprune.run.start import start_of_trail
from segprune.stage.contract import Context, Stage
from segprune.stage.facts import RowFacts
from segprune.stage.state import Trail
from tests.run.test_assemble import settings
from tests.stage.test_eval import stage as evaluate
from tests.stage.test_fit import stage as fit
from tests.stage.test_prune import stage as prune
from tests.tiny import FACTS, tiny_context

pytestmark = pytest.mark.usefixtures("composer")
OTHER = RowFacts(run="other", model="toy", pruner="fpgm", budget="macs", scope="global", ratio=0.9)
"""What the configuration of a run that cuts nothing may say of cuts."""
TRAIN, PRUNE, TUNE = replace(fit(epochs=1), starts=True), prune(), fit("finetune", "finetuned", epochs=1)
RELATIVE = ("miou_retention", "channels_dense", "channels_kept", "macs_kept", "params_kept", "ratio_reached")
OF_A_CUT = ("pruner", "budget", "scope", "ratio_asked")


def chain(ctx: Context, stages: Sequence[Stage], folder: Path | None = None) -> tuple[Trail, dict[str, Row]]:
    """Run stages on from the checkpoint in a folder, and evaluate."""
    start: Trail = ()
    if folder is not None:
        wanted = settings("stages=[prune,finetune,eval]", f"checkpoint={folder}")
        start = start_of_trail(wanted, ctx, [name for stage in stages for name in stage.networks])
    trail, rows = run_chain([*stages, evaluate()], ctx, start)
    return trail, {row.stage: row for row in rows}


def folder_of(trail: Trail) -> Path:
    folder = trail[-1].folder
    assert folder is not None
    return folder


@pytest.mark.slow
def test_however_the_work_is_split_the_rows_are_the_same(tmp_path: Path) -> None:
    _, whole = chain(tiny_context(tmp_path / "one"), [TRAIN, PRUNE, TUNE])
    trained, _ = chain(tiny_context(tmp_path / "many"), [TRAIN])
    cut, _ = chain(tiny_context(tmp_path / "many"), [PRUNE], folder_of(trained))
    ctx = tiny_context(tmp_path / "many", facts=OTHER)
    tuned, rows = chain(ctx, [TUNE], folder_of(cut))
    assert list(rows) == ["dense", "pruned", "finetuned"]
    for name, row in rows.items():
        one = whole[name]
        assert [getattr(row, part) for part in OF_A_CUT] == [getattr(one, part) for part in OF_A_CUT]
        assert [row[part] for part in RELATIVE] == [one[part] for part in RELATIVE]
        assert (row.fingerprint, row["miou_percent"]) == (one.fingerprint, one["miou_percent"])
        assert row["logit_mse"] == one["logit_mse"]
        assert row["speedup"] is not None  # timed in turns with the dense network
    assert rows["finetuned"]["channels_dense"] == 10
    assert tuned[-1].ancestry is not None
    assert tuned[-1].ancestry.cuts == cut[-1].ancestry.cuts  # type: ignore[union-attr]


@pytest.mark.slow
def test_three_cuts_by_hand_are_told_as_what_they_removed_of_the_dense_network(tmp_path: Path) -> None:
    trail, _ = chain(tiny_context(tmp_path), [TRAIN])
    for ratio in (0.2, 0.5):
        ctx = tiny_context(tmp_path, facts=replace(FACTS, ratio=ratio))
        trail, rows = chain(ctx, [replace(PRUNE, ratio=ratio)], folder_of(trail))
    assert list(rows) == ["dense", "start", "pruned_raw", "pruned"]  # two networks would be named pruned
    first, second = rows["start"], rows["pruned"]
    assert (first.ratio_asked, second.ratio_asked) == (0.2, pytest.approx(1 - 0.8 * 0.5))
    assert (first["channels"], first["channels_dense"]) == (8, 10)
    assert (second["channels"], second["channels_dense"], second["ratio_reached"]) == (
        4,
        10,
        pytest.approx(0.6),
    )


@pytest.mark.slow
def test_without_the_dense_network_its_row_is_compared_with_and_no_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trail, whole = chain(tiny_context(tmp_path), [TRAIN, PRUNE])
    alone = tmp_path / "alone"
    shutil.copytree(folder_of(trail), alone)
    assert trail[0].folder is not None
    shutil.rmtree(trail[0].folder)
    _, rows = chain(tiny_context(tmp_path / "elsewhere", facts=OTHER), [TUNE], alone)
    assert "mIoU is compared with what was measured of it before" in caplog.text
    assert list(rows) == ["pruned", "finetuned"]
    assert [rows["pruned"][name] for name in RELATIVE] == pytest.approx(
        [whole["pruned"][n] for n in RELATIVE]
    )
    for row in rows.values():
        assert (row["speedup"], row["logit_mse"], row.pruner) == (None, None, "l1")
        assert "not timed" in (row.timing or "")
    (alone / ANCESTRY).write_text((alone / ANCESTRY).read_text().replace('"r"', '"other images"'))
    _, rows = chain(tiny_context(tmp_path / "other"), [TUNE], alone)
    assert (rows["finetuned"]["miou_retention"], rows["finetuned"]["channels_dense"]) == (None, 10)


@pytest.mark.slow
def test_a_cut_network_of_which_nothing_is_known_is_called_start_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trail, _ = chain(tiny_context(tmp_path), [TRAIN, PRUNE])
    folder = folder_of(trail)
    (folder / ANCESTRY).unlink()  # as those of earlier versions
    with caplog.at_level(logging.WARNING):
        _, rows = chain(tiny_context(tmp_path), [TUNE], folder)
    said = [line for line in caplog.messages if "does not say which dense network" in line]
    assert len(said) == 1
    assert list(rows) == ["start", "finetuned"]
    assert (rows["finetuned"]["channels_dense"], rows["finetuned"].pruner) == (5, None)
    assert not (folder / ANCESTRY).exists()
