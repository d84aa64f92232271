from dataclasses import replace

import pytest

from segprune.checkpoint.ancestry import Ancestry, Step
from segprune.run.naming import run_name
from tests.run.test_assemble import JOB, settings

pytestmark = pytest.mark.usefixtures("composer")


@pytest.mark.slow
def test_runs_are_named_after_what_makes_them_differ() -> None:
    assert run_name(settings("ratio=0.30000000000000004", "seed=2"), JOB) == "taylor-r0.3-s2"
    assert run_name(settings("stages=[train,eval]"), JOB) == "dense-s0"


DENSE = Ancestry(network="dense", fingerprint="a", weights_sha256=None, place=None)
CUT = DENSE.then(Step(network="pruned", label="l1-r0.1"))
TUNED = CUT.then(Step(network="finetuned", label="ft"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stages", "past", "name"),
    [
        ("finetune,eval", CUT, "l1-r0.1-ft-s0"),
        ("eval", TUNED, "l1-r0.1-ft-s0"),
        ("prune,finetune,eval", TUNED, "l1-r0.1-ft-taylor-r0.3-s0"),
        ("prune,eval", DENSE, "taylor-r0.3-s0"),
        ("eval", DENSE, "dense-s0"),
        ("finetune,eval", DENSE, "dense-ft-s0"),
        ("eval", None, "start-s0"),
        ("finetune,eval", None, "start-ft-s0"),
        ("prune,eval", None, "start-taylor-r0.3-s0"),
    ],
)
def test_a_run_that_goes_on_is_named_after_all_that_was_done(
    stages: str, past: Ancestry | None, name: str
) -> None:
    assert run_name(settings(f"stages=[{stages}]", "checkpoint=here"), JOB, past) == name


@pytest.mark.slow
def test_weights_from_elsewhere_are_not_called_dense() -> None:
    given = ("model=module", "model.factory=tests.x:y", "model.checkpoint=best.pth")
    assert run_name(settings(*given, "stages=[eval]"), JOB) == "start-s0"
    assert run_name(settings(*given, "stages=[prune,eval]"), JOB) == "taylor-r0.3-s0"
    assert run_name(settings(*given, "stages=[train,eval]"), JOB) == "dense-s0"


@pytest.mark.slow
def test_a_control_is_named_after_its_protocol() -> None:
    job = replace(JOB, choices={**JOB.choices, "protocol": "scratch_e"})
    assert run_name(settings("protocol=scratch_e"), job) == "taylor-r0.3-scratch_e-s0"


@pytest.mark.slow
def test_a_budget_without_a_ratio_is_named_after_its_threshold() -> None:
    assert run_name(settings("budget=threshold", "budget.threshold=0.05"), JOB) == "taylor-t0.05-s0"
    assert run_name(settings("ratio=null"), JOB) == "taylor-macs-s0"
