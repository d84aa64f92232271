"""``make bench``: what this program costs beside the least that the same work can cost, part by part.

Whatever is compared is measured in turns, and a ratio is the median of those within each turn. Without names all
parts are measured, which takes half an hour on two cores, in the quick form five minutes.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from segprune.bench import chain, cuts, epochs, growth, loading, scoring, startup
from segprune.bench.contract import Bench, Figure, Measure
from segprune.bench.machine import described, load, machine
from segprune.console import command
from segprune.errors import ConfigError
from segprune.result.table import aligned

log = logging.getLogger(__name__)
PARTS: dict[str, Measure] = {
    "startup": startup.measure,
    "loading": loading.measure,
    "scoring": scoring.measure,
    "epochs": epochs.measure,
    "chain": chain.one_run,
    "grid": chain.nine_jobs,
    "growth": growth.measure,
}
CUTS = "cuts"
TITLES = ("what", "of", "unit", "median", "lowest", "highest", "n", "goal")


def main(arguments: Sequence[str]) -> int:
    """Measure the parts, print a table of each and write all numbers as JSON."""
    options = _options(arguments)
    parts: dict[str, Measure] = {**PARTS, CUTS: partial(cuts.measure, options)}
    names = options.parts or list(parts)
    if unknown := [name for name in names if name not in parts]:
        raise ConfigError(f"the bench has no part {', '.join(unknown)}; it has {', '.join(parts)}.")
    if not Path("run.py").is_file():
        raise ConfigError(
            f"there is no run.py in {Path.cwd()}; start the bench in a clone, which has run.py and conf/."
        )
    if options.rounds is not None and options.rounds < 1:
        raise ConfigError(f"--rounds is {options.rounds}; a comparison takes at least one.")
    about = machine()
    log.info("%s; load %s", described(about), load())
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as place:
        for name in dict.fromkeys(names):
            bench = Bench(folder=Path(place, name), is_quick=options.quick, rounds=options.rounds)
            bench.folder.mkdir()
            before, started = load(), time.perf_counter()
            figures = list(parts[name](bench))
            seconds = round(time.perf_counter() - started, 1)
            log.info("\n%s: %.0f s, load %s before and %s after", name, seconds, before, load())
            log.info("%s", table(figures))
            found[name] = {
                "seconds": seconds,
                "load_before": before,
                "load_after": load(),
                "figures": [asdict(one) for one in figures],
            }
            _keep(options.json, {"quick": options.quick, "machine": about, "parts": found})
    log.info("also in %s", options.json)
    return 0


def table(figures: Sequence[Figure]) -> str:
    """One line per number."""
    body = [
        (
            one.what,
            one.sizes,
            one.unit,
            *("" if number is None else f"{number:.4g}" for number in (one.value, one.low, one.high)),
            str(one.count),
            "" if one.goal is None else f"{one.goal:g}{'' if one.value <= one.goal else ' missed'}",
        )
        for one in figures
    ]
    return aligned(TITLES, body, text_columns=3)


def _keep(path: Path, found: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1), encoding="utf-8")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join([*PARTS, CUTS])}; none: all")
    parser.add_argument("--quick", action="store_true", help="small sizes and few turns")
    place = Path(os.environ.get("SEGPRUNE_OUTPUTS", "outputs"), "bench.json")
    parser.add_argument("--json", type=Path, default=place, help="file for the numbers (%(default)s)")
    parser.add_argument("--rounds", type=int, help="turns of each comparison")
    cuts.add_options(parser.add_argument_group(f"of the part {CUTS}"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(command(main, sys.argv[1:]))
