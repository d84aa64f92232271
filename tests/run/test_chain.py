from dataclasses import dataclass, field
from pathlib import Path

import pytest

from segprune.errors import ConfigError
from segprune.run.chain import run_chain
from segprune.stage.contract import Context, NetState, Stage, Trail
from tests.report.test_table import DENSE
from tests.tiny import tiny_context, tiny_net


@dataclass(frozen=True, kw_only=True)
class Adds(Stage):
    """Makes a network of its own name and measures it."""

    seen: list[tuple[str, ...]] = field(default_factory=list)

    def __call__(self, ctx: Context, trail: Trail) -> Trail:
        self.seen.append(tuple(state.name for state in trail))
        ctx.rows.append(DENSE)
        return (*trail, NetState(name=self.word, net=tiny_net(), transforms=(), fingerprint=self.word))


def test_every_stage_gets_what_the_ones_before_it_made(tmp_path: Path) -> None:
    seen: list[tuple[str, ...]] = []
    stages = [Adds(word=word, seen=seen) for word in ("a", "b", "c")]
    trail, rows = run_chain(stages, tiny_context(tmp_path), ())
    assert seen == [(), ("a",), ("a", "b")]
    assert [state.name for state in trail] == ["a", "b", "c"]
    assert rows == (DENSE, DENSE, DENSE)


@dataclass(frozen=True, kw_only=True)
class Again(Stage):
    """Hands on what it is told to."""

    trail: Trail | None

    def __call__(self, ctx: Context, trail: Trail) -> Trail:
        return self.trail  # type: ignore[return-value]


def test_two_networks_of_one_name_or_none_are_refused(tmp_path: Path) -> None:
    state = NetState(name="rounded", net=tiny_net(), transforms=(), fingerprint="1")
    with pytest.raises(ConfigError, match=r"after stage\.again two networks are named rounded"):
        run_chain([Again(word="again", trail=(state, state))], tiny_context(tmp_path), ())
    for nothing in ((), None):
        with pytest.raises(ConfigError, match=r"stage\.again gave no network"):
            run_chain([Again(word="again", trail=nothing)], tiny_context(tmp_path), ())
