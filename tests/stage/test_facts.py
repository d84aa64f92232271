from dataclasses import replace

import pytest

from segprune.checkpoint.ancestry import Ancestry, Cause, Step
from segprune.stage.facts import facts_at, whole
from segprune.stage.state import NetState
from tests.tiny import FACTS, tiny_net


def cause(ratio: float | None, **changes: str) -> Cause:
    values = {"pruner": "l1", "budget": "channels", "scope": "local", **changes}
    return Cause(ratio=ratio, **values)  # type: ignore[arg-type]


def test_three_cuts_in_a_row_are_one_of_what_they_remove_together() -> None:
    found = whole([cause(0.1), cause(0.2, pruner="taylor"), cause(0.3)])
    assert found.ratio == pytest.approx(1 - 0.9 * 0.8 * 0.7)
    assert (found.pruner, found.budget) == ("l1+taylor", "channels")
    assert whole([cause(0.1)]) == cause(0.1)
    assert whole([cause(0.1), cause(None)]).ratio is None
    assert whole([cause(0.1), cause(0.2, budget="macs")]) == cause(None, budget="channels+macs")


def test_facts_of_a_network_are_those_of_the_run_but_for_what_earlier_ones_did_to_it() -> None:
    dense = NetState(name="dense", net=tiny_net(), transforms=(), fingerprint="ab")
    assert facts_at(FACTS, dense) == FACTS
    past = Ancestry(network="dense", fingerprint="ab", weights_sha256=None, place=None)
    cut = past.then(
        Step(network="pruned", label="taylor-r0.2", cut=cause(0.2, pruner="taylor", budget="macs"))
    )
    assert facts_at(FACTS, replace(dense, ancestry=past, model="unet")) == replace(FACTS, model="unet")
    found = facts_at(FACTS, replace(dense, ancestry=cut))
    assert (found.pruner, found.budget, found.ratio, found.run) == ("taylor", "macs", 0.2, FACTS.run)
