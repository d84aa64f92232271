"""``make gpu-check``: whether all that was only read and emulated holds on this GPU, in at most ten minutes.

Without a GPU it says so and checks, cut down, the rules that need none.
"""

import argparse
import contextlib
import json
import logging
import math
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from segprune.console import command
from segprune.deploy.time_limit import time_limit
from segprune.gpu import inputs_of
from segprune.gpu_check import commands, numbers, several, speed, trainings
from segprune.gpu_check.contract import Bench, Found, Rule
from segprune.result.table import aligned

log = logging.getLogger(__name__)
LIMIT_S = 600.0
RULES = (
    Rule(
        number=1,
        says="torch has code for this GPU, and it is found",
        check=commands.which_gpu,
        needs_gpu=True,
    ),
    Rule(number=2, says="a run as on the CPU: within 5 points of mIoU", check=commands.same_run),
    Rule(
        number=3, says="same classes as on the CPU: 99.9 %, without TF32 99.99 %", check=numbers.same_classes
    ),
    Rule(number=4, says="same ranking by every criterion: 0.99, 0.9999", check=numbers.same_ranking),
    Rule(number=5, says="float16: finite, no change by an overflow", check=trainings.half_precision),
    Rule(number=6, says="gradient of bfloat16 logits: bias of 0.5 %", check=numbers.gradient_bias),
    Rule(number=7, says="killed and resumed: as if not, loss within 2 %", check=trainings.resuming),
    Rule(
        number=8,
        says="training at 0.95 of a bare loop, 2 waits a step",
        check=speed.training_speed,
        needs_gpu=True,
    ),
    Rule(number=9, says="memory given back: within 1 MB", check=trainings.memory_given_back, needs_gpu=True),
    Rule(number=10, says="a network as fast as its copy: within 3 %", check=speed.latency, needs_gpu=True),
    Rule(number=11, says="8 loading processes: all ends", check=trainings.loading),
    Rule(number=12, says="two jobs on a GPU; none without memory", check=commands.jobs_share),
    Rule(number=13, says="evaluation at 1024x2048: 0.15 s", check=speed.evaluation_speed, needs_gpu=True),
    Rule(number=14, says="two GPUs train as one: loss within 1 %", check=several.several_gpus),
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a rule.

    Attributes:
        number: Of the rule.
        says: The rule.
        verdict: ``holds``, ``fails``, or ``needs a GPU``.
        measured: In words.
        seconds: Wall time.
    """

    number: int
    says: str
    verdict: str
    measured: str
    seconds: float


def main(arguments: Sequence[str]) -> int:
    """Check the rules and print a verdict on each; 0: all that could be checked hold."""
    parser = argparse.ArgumentParser(prog="make gpu-check", description=__doc__)
    numbers_of_all = [rule.number for rule in RULES]
    parser.add_argument("--rules", nargs="+", type=int, choices=numbers_of_all, default=numbers_of_all)
    parser.add_argument("--json", type=Path, default=Path("outputs") / "gpu-check.json", help="%(default)s")
    about = "seconds for all rules; what is not done by then fails (%(default)g)"
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help=about)
    options = parser.parse_args(arguments)
    has_gpu = torch.cuda.is_available()
    device = torch.device("cuda", 0) if has_gpu else torch.device("cpu")
    if not has_gpu:
        log.info("no GPU that torch can use is here; only what needs none is checked, and cut down")
    with tempfile.TemporaryDirectory() as place:
        ends_at = time.monotonic() + options.limit_s
        bench = Bench(device=device, folder=Path(place), is_small=not has_gpu, ends_at=ends_at)
        verdicts = [verdict_on(rule, bench) for rule in RULES if rule.number in options.rules]
    log.info("%s", table(verdicts))
    _keep(options.json, verdicts, device)
    return 1 if any(one.verdict == "fails" for one in verdicts) else 0


def verdict_on(rule: Rule, bench: Bench) -> Verdict:
    """Check a rule; an error of any kind is a rule that fails, and so is one that has no time left."""
    started, left_s = time.perf_counter(), bench.left_s()
    if rule.needs_gpu and bench.device.type != "cuda":
        found, verdict = Found(measured="", holds=True), "needs a GPU"
    elif left_s == 0:
        found, verdict = Found(measured="not checked: the time of all rules was up", holds=False), "fails"
    else:
        log.info("%d: %s", rule.number, rule.says)
        try:
            with time_limit(left_s) if math.isfinite(left_s) else contextlib.nullcontext():
                found = rule.check(bench)
        except Exception as error:  # noqa: BLE001 - the other rules are checked all the same
            found = Found(measured=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", holds=False)
        verdict = "holds" if found.holds else "fails"
    seconds = round(time.perf_counter() - started, 1)
    return Verdict(
        number=rule.number, says=rule.says, verdict=verdict, measured=found.measured, seconds=seconds
    )


def table(verdicts: Sequence[Verdict]) -> str:
    """One line per rule."""
    rows = [
        [str(one.number), one.verdict, f"{one.seconds:.1f} s", one.says, one.measured] for one in verdicts
    ]
    return aligned(["", "", "", "rule", "measured"], rows, text_columns=5)


def _keep(path: Path, verdicts: Sequence[Verdict], device: torch.device) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "device": str(device),
        "torch": torch.__version__,
        "host": platform.machine(),
        **inputs_of(device),
    }
    found = {**about, "rules": [asdict(one) for one in verdicts]}
    path.write_text(json.dumps(found, indent=1), encoding="utf-8")
    log.info("also in %s", path)


if __name__ == "__main__":
    sys.exit(command(main, sys.argv[1:]))
