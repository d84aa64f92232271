from dataclasses import replace
from typing import Any

import pytest

from segprune.report.collect import JobData
from segprune.report.paired import by_seed
from segprune.report.references import Reference, false_controls, is_control, references
from tests.report.sweeps import dense, job_data

TAYLOR = [job_data(seed, "taylor", miou, seed=seed) for seed, miou in ((0, 45.0), (1, 47.0))]
L1 = [job_data(10 + seed, "l1", miou, seed=seed) for seed, miou in ((0, 40.0), (1, 41.0))]


def control(number: int, protocol: str, miou: float | None, *, seed: int = 0, **known: Any) -> JobData:
    known = {"method": protocol if protocol == "half" else f"taylor {protocol}", **known}
    return job_data(number, "taylor", miou, seed=seed, protocol=protocol, **known)


def found(*controls: JobData, setting: str = "streets, unet") -> list[Reference]:
    asked = job_data(0, "taylor", 45.0, setting=setting)
    methods = {"taylor": by_seed(TAYLOR), "l1": by_seed(L1)}
    return list(references([*TAYLOR, *L1, *controls], asked, methods, "taylor"))


def test_the_best_method_is_compared_with_the_dense_network_that_was_trained_as_long() -> None:
    (reference,) = found(dense(20, 48.0), dense(21, 50.0, seed=1))
    assert (reference.protocol, reference.method, reference.seeds) == ("dense", "taylor", (0, 1))
    assert (reference.mean, reference.sd, reference.macs_kept) == (49.0, pytest.approx(2**0.5), 1.0)
    assert reference.ahead is not None
    assert reference.ahead.per_seed == (-3.0, -3.0)
    assert reference.name == "dense network, finetuned by the same schedule"


def test_a_method_is_compared_with_its_own_cut_network_trained_from_the_start() -> None:
    own = control(20, "scratch_e", 44.0)
    (reference,) = found(
        own, control(21, "scratch_e", 43.0, ratio=0.5), control(22, "scratch_b", 1.0, method="fpgm scratch_b")
    )
    assert (reference.mean, reference.name) == (
        44.0,
        "taylor, trained from scratch for as many epochs as the dense network",
    )
    assert reference.ahead is None  # one seed without counts per image
    assert is_control(own)
    assert not is_control(TAYLOR[0])


def test_a_control_without_what_sets_a_setting_apart_counts_for_it() -> None:
    half = control(20, "half", 30.0)
    assert [r.protocol for r in found(half, setting="streets, unet; rounds=2")] == ["half"]
    assert found(control(20, "half", 30.0, setting="streets, unet; train.epochs=9")) == []
    assert found(control(20, "half", 30.0, setting="camvid, unet")) == []


def test_a_control_that_failed_is_none() -> None:
    assert found(dense(20, None)) == []


def test_a_control_that_is_not_what_it_is_called_is_none_and_that_is_said() -> None:
    cut = job_data(20, "taylor", 48.0, protocol="dense", method="dense")
    whole = replace(dense(21, 40.0), number="21")
    uncut = replace(whole, outcome=replace(whole.outcome, protocol="half"), method="half")
    raw = control(22, "scratch_e", 30.0)
    raw = replace(raw, outcome=replace(raw.outcome, rows=raw.outcome.rows[:2]))  # dense, pruned
    later = replace(raw, number="23", outcome=replace(raw.outcome, seed=1))
    wrong = [cut, uncut, raw, later, control(24, "scratch_e", None)]
    assert found(*wrong) == []
    asked, methods = TAYLOR[0], {"taylor": by_seed(TAYLOR)}
    assert false_controls([*TAYLOR, *wrong], asked, methods) == [
        "the control dense is none, since it was cut (job 20)",
        "the control half is none, since it was not cut (job 21)",
        "the control scratch_e is none, since it was not trained (job 22, 23)",
    ]
    right = [dense(20, 48.0), control(21, "half", 30.0), control(22, "scratch_e", 30.0)]
    assert [reference.protocol for reference in found(*right)] == ["dense", "half", "scratch_e"]
    assert false_controls([*TAYLOR, *right], asked, methods) == []


def test_the_dense_network_as_it_is_shows_nothing_of_more_training() -> None:
    finetuned = dense(20, 48.0)
    as_it_is = replace(finetuned, outcome=replace(finetuned.outcome, rows=finetuned.outcome.rows[:1]))
    assert found(as_it_is) == []
