import json
from pathlib import Path

import pytest
import torch

from segprune.budget.fraction import FractionBudget
from segprune.loss.ce import CrossEntropy
from segprune.pruner.dmcp import MarkovTraining
from segprune.pruner.sparse import SparseTraining
from segprune.stage.calibration import CalibrationSet
from segprune.stage.prepare import Preparation
from segprune.stage.state import NetState
from tests.tiny import tiny_context, tiny_net, tiny_schedule


def preparation(phase: object, *, ratio: float = 0.5, images: int = 8) -> Preparation:
    return Preparation(
        phase=phase,
        calibration=CalibrationSet(images=images, batch_size=4),
        loss=CrossEntropy(),
        aux_weight=0.4,
        budget=FractionBudget(of="macs", scope="paper", floor=0.0, round_to=1, tolerance=0.1),
        ratio=ratio,
    )


def sparse() -> SparseTraining:
    return SparseTraining(penalty=0.01, schedule=tiny_schedule())


def markov() -> MarkovTraining:
    return MarkovTraining(
        chunks=4,
        start=2.0,
        gate_lr=0.1,
        gates_from=0.0,
        budget_weight=0.1,
        sampled=0,
        order="index",
        schedule=tiny_schedule(),
    )


def dense() -> NetState:
    return NetState(name="dense", net=tiny_net().eval(), transforms=(), fingerprint="dense")


@pytest.mark.slow
@pytest.mark.parametrize("make", [sparse, markov])
def test_a_phase_is_done_once_and_its_figure_and_curve_are_kept(tmp_path: Path, make) -> None:
    first, learned = preparation(make())(tiny_context(tmp_path), dense())
    ctx = tiny_context(tmp_path)
    second, again = preparation(make())(ctx, dense())
    assert ctx.store.computed == []
    assert (first.name, first.transforms) == ("prepared", ())
    assert first.fingerprint == second.fingerprint
    for a, b in zip(first.net.state_dict().values(), second.net.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert all(torch.equal(value, again[name]) for name, value in learned.items())
    assert first.folder is not None
    assert (first.folder / "phase.png").read_bytes().startswith(b"\x89PNG")
    assert len(json.loads((first.folder / "curve.json").read_text())) == 2
    assert not (first.folder / "progress.pt").exists()


@pytest.mark.slow
def test_budgets_share_a_phase_that_needs_none(tmp_path: Path) -> None:
    def key(phase: object, **changes: object) -> str:
        return preparation(phase, **changes)(tiny_context(tmp_path), dense())[0].fingerprint

    assert key(sparse()) == key(sparse(), ratio=0.2) == key(sparse(), images=4)
    assert len({key(markov()), key(markov(), ratio=0.2), key(markov(), images=4)}) == 3


@pytest.mark.slow
@pytest.mark.parametrize(("make", "images"), [(sparse, 0), (markov, 8)])
def test_only_a_phase_that_looks_at_the_calibration_images_is_given_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make, images: int
) -> None:
    phase, given = make(), []
    run = type(phase).__call__

    def look(self, net, groups, **rest):
        given.append(sum(len(batch.image) for batch in rest["calibration"].batches))
        return run(self, net, groups, **rest)

    monkeypatch.setattr(type(phase), "__call__", look)
    preparation(phase)(tiny_context(tmp_path), dense())
    assert given == [images]


@pytest.mark.slow
def test_a_phase_is_told_what_should_remain(tmp_path: Path) -> None:
    _, learned = preparation(markov(), ratio=0.2)(tiny_context(tmp_path), dense())
    assert float(learned["share"]) == pytest.approx(0.8)


@pytest.mark.slow
def test_another_penalty_is_another_phase(tmp_path: Path) -> None:
    keys = {
        preparation(SparseTraining(penalty=penalty, schedule=tiny_schedule(epochs=1)))(
            tiny_context(tmp_path), dense()
        )[0].fingerprint
        for penalty in (0.1, 0.2)
    }
    assert len(keys) == 2
