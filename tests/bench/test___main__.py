import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from segprune.bench import __main__ as program
from segprune.bench.contract import Bench, Figure
from segprune.errors import ConfigError

ROOT = Path(__file__).parent.parent.parent


def two(bench: Bench) -> Iterator[Figure]:
    yield Figure(what="start", value=1.5, unit="s", sizes="small" if bench.is_quick else "usual", goal=1)
    yield Figure(what="ratio", value=1.02, unit="x", sizes="small", low=1.01, high=1.1, count=3, goal=1.05)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setitem(program.PARTS, "startup", two)


def test_chosen_parts_are_measured_told_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert program.main(["startup", "startup", "--quick", "--json", str(tmp_path / "new" / "b.json")]) == 0
    lines = [line.split() for line in caplog.text.splitlines()]
    assert ["start", "small", "s", "1.5", "1", "1", "missed"] in lines
    assert ["ratio", "small", "x", "1.02", "1.01", "1.1", "3", "1.05"] in lines
    kept = json.loads((tmp_path / "new" / "b.json").read_text())
    assert kept["quick"] is True
    assert kept["machine"]["threads"] >= 1
    (part,) = kept["parts"].values()
    assert [one["value"] for one in part["figures"]] == [1.5, 1.02]
    assert "load_before" in part


def test_a_part_that_is_none_is_refused_before_any_is_measured(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no part loadin; it has startup, loading, "):
        program.main(["startup", "loadin", "--json", str(tmp_path / "b.json")])
    with pytest.raises(ConfigError, match=r"--rounds is 0"):
        program.main(["startup", "--rounds", "0"])
    assert not (tmp_path / "b.json").exists()


def test_it_wants_a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"there is no run\.py in "):
        program.main(["startup"])
