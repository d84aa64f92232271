from dataclasses import replace
from pathlib import Path

import pytest

from segprune.gpu_check import trainings
from segprune.gpu_check.trainings import half_precision, loading, memory_given_back, resuming
from segprune.training.loop import fit
from tests.gpu_check.benches import small

pytestmark = pytest.mark.slow


def test_float16_is_forced_on_every_kind_of_training(tmp_path: Path) -> None:
    found = half_precision(small(tmp_path))
    assert found.holds, found.measured
    assert found.measured == "train, slimming, cap, dmcp: finite, unchanged"


def test_a_killed_training_goes_on_and_one_that_does_not_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resuming(small(tmp_path / "a")).holds

    def forgetful(net, training, make_step):
        net, curve, step = fit(net, training, make_step)
        return net, curve if training.folder.name == "whole" else (replace(curve[0], loss=9.0),), step

    monkeypatch.setattr(trainings, "fit", forgetful)
    assert not resuming(small(tmp_path / "b")).holds


def test_processes_bring_every_batch_and_end(tmp_path: Path) -> None:
    found = loading(small(tmp_path))
    assert found.holds, found.measured


def test_a_chain_runs_again_in_the_same_process(tmp_path: Path) -> None:
    assert memory_given_back(small(tmp_path)).measured == "+0.00 MB"
