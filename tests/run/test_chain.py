from pathlib import Path

from segprune.run.chain import run_chain
from segprune.stage.contract import Context, NetState, Trail
from tests.tiny import tiny_context, tiny_net


class Adds:
    """A stage that makes a network of its own name."""

    def __init__(self, word: str, seen: list[tuple[str, ...]]) -> None:
        self.word, self.seen = word, seen

    def __call__(self, ctx: Context, trail: Trail) -> Trail:
        self.seen.append(tuple(state.name for state in trail))
        return (*trail, NetState(name=self.word, net=tiny_net(), transforms=(), fingerprint=self.word))


def test_every_stage_gets_what_the_ones_before_it_made(tmp_path: Path) -> None:
    seen: list[tuple[str, ...]] = []
    trail = run_chain([Adds("a", seen), Adds("b", seen), Adds("c", seen)], tiny_context(tmp_path), ())
    assert seen == [(), ("a",), ("a", "b")]
    assert [state.name for state in trail] == ["a", "b", "c"]
