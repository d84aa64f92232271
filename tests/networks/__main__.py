"""``make networks``: tries every network of the zoo, prints a table and writes it as JSON."""

import argparse
import json
import sys
import traceback
import warnings
from dataclasses import asdict
from pathlib import Path

from tests.networks.bare import bare
from tests.networks.battery import Tried, smallest, tried
from tests.networks.zoo import CLASSES, zoo

COLUMNS = ("network", "can be cut %", "most MACs %", "most params %", "error", "reload", "CPU s", "verdict")


def main(argv: list[str]) -> int:
    """Try all networks whose name holds one of the words given; all without words."""
    parser = argparse.ArgumentParser(prog="make networks ARGS=...", description=main.__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--alone", action="store_true", help="what torch-pruning alone makes of the same cut")
    parser.add_argument("--json", type=Path, default=Path("outputs/networks.json"))
    given = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    if given.alone:
        return alone(given.words)
    results: list[Tried] = []
    say(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    for name, make in zoo():
        if given.words and not any(word in name for word in given.words):
            continue
        try:
            result = tried(name, make)
        except Exception as error:  # noqa: BLE001 - the rest is tried too, and the end says that this happened
            traceback.print_exc()
            result = Tried(name=name, verdict=f"FAILED: {type(error).__name__}: {error}")
        results.append(result)
        say(row(result))
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps([asdict(one) for one in results], indent=1), encoding="utf-8")
    passed = sum(one.verdict == "passes" for one in results)
    say(f"\n{passed} of {len(results)} networks pass")
    return int(any(one.verdict.startswith("FAILED") for one in results))


def alone(words: list[str]) -> int:
    """A line for each network; nothing bounds how long one takes."""
    for name, make in zoo():
        if not words or any(word in name for word in words):
            say(f"| {name} | {bare(make, smallest(make().eval()), CLASSES)} |")
    return 0


def say(text: str) -> None:
    """A line on the console, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def row(one: Tried) -> str:
    """A line of the table."""
    numbers = f"{one.cuttable:.0f} | {one.macs:.0f} | {one.params:.0f} | {one.error:.0e}"
    return f"| {one.name} | {numbers} | {'yes' if one.reload else 'no'} | {one.seconds:.0f} | {one.verdict} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
