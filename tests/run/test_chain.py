from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from segprune.errors import ConfigError
from segprune.run.chain import run_chain
from segprune.shortage import StageMemoryError, shortage
from segprune.stage.contract import Context, Stage
from segprune.stage.state import NetState, Trail
from segprune.training.step import Hardware
from tests.gpus import with_gpus
from tests.report.test_table import DENSE
from tests.stage.test_eval import Recorder
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


@dataclass(frozen=True, kw_only=True)
class Large(Stage):
    """Needs more memory than there is, or has a bug."""

    error: Exception

    def memory_keys(self, ctx: Context) -> tuple[str, ...]:
        return ("large.batch_size",)

    def __call__(self, ctx: Context, trail: Trail) -> Trail:
        raise self.error


def test_a_lack_of_memory_says_in_which_stage_it_was_and_other_errors_stay(tmp_path: Path) -> None:
    full, bug = RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), RuntimeError("a bug")
    with pytest.raises(StageMemoryError) as told:
        run_chain([Large(word="big", error=full)], tiny_context(tmp_path), ())
    assert (told.value.word, told.value.keys, told.value.__cause__) == ("big", ("large.batch_size",), full)
    assert shortage(told.value, {"large.batch_size": 3}.get).startswith(
        "big: the GPU's memory ran out: CUDA out"
    )
    with pytest.raises(RuntimeError) as raised:
        run_chain([Large(word="big", error=bug)], tiny_context(tmp_path), ())
    assert raised.value is bug


def test_on_a_gpu_the_peak_memory_of_each_stage_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nets = {word: tiny_net() for word in ("a", "b")}
    driver = with_gpus(monkeypatch, 1)
    tracker = Recorder()
    hardware = Hardware(device=torch.device("cuda", 0), workers=0)
    ctx = replace(tiny_context(tmp_path), hardware=hardware, tracker=tracker)
    driver.use(driver.used + 30 * 10**6)

    @dataclass(frozen=True, kw_only=True)
    class Uses(Stage):
        mb: int

        def __call__(self, ctx: Context, trail: Trail) -> Trail:
            driver.use(driver.used + self.mb * 10**6)
            driver.use(driver.used + -self.mb * 10**6)
            made = NetState(name=self.word, net=nets[self.word], transforms=(), fingerprint=self.word)
            return (*trail, made)

    run_chain([Uses(word="a", mb=70), Uses(word="b", mb=20)], ctx, ())
    assert {name: value for name, value in tracker.values.items() if name.startswith("memory/")} == {
        "memory/a_peak_mb": 100.0,
        "memory/b_peak_mb": 50.0,
    }


def test_two_networks_of_one_name_or_none_are_refused(tmp_path: Path) -> None:
    state = NetState(name="rounded", net=tiny_net(), transforms=(), fingerprint="1")
    with pytest.raises(ConfigError, match=r"after stage\.again two networks are named rounded"):
        run_chain([Again(word="again", trail=(state, state))], tiny_context(tmp_path), ())
    for nothing in ((), None):
        with pytest.raises(ConfigError, match=r"stage\.again gave no network"):
            run_chain([Again(word="again", trail=nothing)], tiny_context(tmp_path), ())
