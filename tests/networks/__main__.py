"""``make networks``: tries every network of the zoo, prints a table and writes it as JSON."""

import argparse
import json
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from segprune.model.contract import SegmentationNet
from tests.networks.apart import answer_of
from tests.networks.bare import bare_by_name
from tests.networks.battery import Tried, tried
from tests.networks.zoo import zoo

COLUMNS = (
    *("network", "can be cut %", "most MACs %", "most params %", "error", "reload", "CPU s", "verdict"),
    "torch-pruning alone",
)


def main(argv: list[str]) -> int:
    """Try all networks whose name holds one of the words given; all without words."""
    parser = argparse.ArgumentParser(prog="make networks ARGS=...", description=main.__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--json", type=Path, default=Path("outputs/networks.json"))
    parser.add_argument("--continue", dest="goes_on", action="store_true", help="keep what the JSON file has")
    parser.add_argument("--cpu-s", type=int, default=60, help="for torch-pruning alone, for each network")
    given = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    before = (
        json.loads(given.json.read_text(encoding="utf-8")) if given.goes_on and given.json.exists() else []
    )
    kept = {one["name"]: Tried(**one) for one in before}
    results: list[Tried] = []
    say(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    for name, make in zoo():
        if given.words and not any(word in name for word in given.words):
            continue
        result = kept.get(name) or _both(name, make, given.cpu_s)
        results.append(result)
        say(row(result))
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps([asdict(one) for one in results], indent=1), encoding="utf-8")
    say(f"\n{summary(results)}")
    return int(any(one.verdict.startswith("FAILED") for one in results))


def _both(name: str, make: Callable[[], SegmentationNet], cpu_s: int) -> Tried:
    """What was seen of a network, and what torch-pruning alone makes of it."""
    alone = answer_of(partial(bare_by_name, name), cpu_s, preload=["tests.networks.bare"])
    try:
        return replace(tried(name, make), alone=alone)
    except Exception as error:  # noqa: BLE001 - the rest is tried too, and the end says that this happened
        traceback.print_exc()
        return Tried(name=name, verdict=f"FAILED: {type(error).__name__}: {error}", alone=alone)


def say(text: str) -> None:
    """A line on the console, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def row(one: Tried) -> str:
    """A line of the table."""
    numbers = f"{one.cuttable:.0f} | {one.macs:.0f} | {one.params:.0f} | {one.error:.0e}"
    reload = "yes" if one.reload else "no"
    return f"| {one.name} | {numbers} | {reload} | {one.seconds:.0f} | {one.verdict} | {one.alone} |"


def summary(results: list[Tried]) -> str:
    """How many pass, and how many torch-pruning alone cuts."""
    passed = sum(one.verdict == "passes" for one in results)
    exact, wrong = (sum(one.alone.startswith(word) for one in results) for word in ("exact", "wrong"))
    return (
        f"{passed} of {len(results)} networks pass; torch-pruning alone cuts {exact} exactly and {wrong} wrongly, "
        f"and {len(results) - exact - wrong} not at all"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
