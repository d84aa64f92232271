import json
import logging
import re
import time
from pathlib import Path

import pytest

from segprune.gpu_check import __main__ as check
from segprune.gpu_check.__main__ import RULES, main, table, verdict_on
from segprune.gpu_check.contract import Bench, Found, Rule
from tests.gpu_check.benches import small


def rule(number: int, *, holds: bool, needs_gpu: bool = False) -> Rule:
    return Rule(
        number=number,
        says=f"rule {number}",
        check=lambda _: Found(measured="1 m", holds=holds),
        needs_gpu=needs_gpu,
    )


def broken(_: Bench) -> Found:
    raise RuntimeError("CUDA error: no kernel image\nmore")


def test_every_rule_gets_a_verdict(tmp_path: Path) -> None:
    rules = [
        rule(1, holds=True),
        rule(2, holds=False),
        rule(3, holds=True, needs_gpu=True),
        Rule(number=4, says="breaks", check=broken),
    ]
    found = [verdict_on(one, small(tmp_path)) for one in rules]
    assert [one.verdict for one in found] == ["holds", "fails", "needs a GPU", "fails"]
    assert found[3].measured == "RuntimeError: CUDA error: no kernel image"
    title, *lines = table(found).splitlines()
    assert title.split() == ["rule", "measured"]
    assert lines[1].split() == ["2", "fails", "0.0", "s", "rule", "2", "1", "m"]


@pytest.mark.parametrize(("holds", "code"), [(True, 0), (False, 1)])
def test_without_a_gpu_it_says_so_and_ends_by_what_needs_none(
    holds: bool, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(check, "RULES", (rule(1, holds=holds), rule(2, holds=False, needs_gpu=True)))
    caplog.set_level(logging.INFO)
    assert main(["--json", str(tmp_path / "found" / "a.json")]) == code
    assert caplog.messages[0].startswith("no GPU that torch can use is here")
    found = json.loads((tmp_path / "found" / "a.json").read_text())
    assert [one["verdict"] for one in found["rules"]] == ["holds" if holds else "fails", "needs a GPU"]
    assert found["device"] == "cpu"


def test_what_is_not_done_in_time_fails_and_nothing_is_begun_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spins(_: Bench) -> Found:
        while True:
            time.sleep(0.01)

    slow, late = Rule(number=1, says="spins", check=spins), Rule(number=2, says="breaks", check=broken)
    monkeypatch.setattr(check, "RULES", (slow, late))
    started = time.monotonic()
    assert main(["--json", str(tmp_path / "a.json"), "--limit-s", "0.3"]) == 1
    assert time.monotonic() - started < 5
    first, second = json.loads((tmp_path / "a.json").read_text())["rules"]
    assert first["verdict"] == second["verdict"] == "fails"
    assert re.fullmatch(r"TimeoutError: it took longer than 0\.\d+ s", first["measured"])
    assert second["measured"] == "not checked: the time of all rules was up"


def test_all_rules_have_ten_minutes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    left: list[float] = []

    def notes(bench: Bench) -> Found:
        left.append(bench.left_s())
        return Found(measured="", holds=True)

    monkeypatch.setattr(check, "RULES", (Rule(number=1, says="", check=notes),))
    assert main(["--json", str(tmp_path / "a.json")]) == 0
    assert 590 < left[0] <= 600


def test_there_are_fourteen_rules() -> None:
    assert [one.number for one in RULES] == list(range(1, 15))
