"""``segprune doctor dataset=... [key=value ...]``: what the data holds, what is wrong, the command that works."""

import logging
import shlex
from collections.abc import Sequence

from segprune.config.dataset_node import composed_dataset
from segprune.config.refusal import refusal
from segprune.config.spelled import override
from segprune.console import MISTAKE
from segprune.dataset.summary import as_text
from segprune.doctor.case import Case
from segprune.doctor.exam import examine
from segprune.doctor.pace import pace
from segprune.errors import SegpruneError

log = logging.getLogger(__name__)
USAGE = (
    "segprune doctor dataset=folder dataset.root=/data/mine [key=value ...]: says what the images and masks hold, "
    "all that is wrong with them and the override for each, and ends in the command that works. Nothing is "
    "trained. It exits with 0 if nothing is wrong, else with 1."
)


def main(arguments: Sequence[str]) -> int:
    """Examine the data set that the overrides name."""
    if not arguments or {"-h", "--help"} & {*arguments}:
        log.info(USAGE)
        return 0
    try:
        found = composed_dataset(arguments)
        case = Case(found.node, found.outputs / "doctor")
        data = examine(case)
    except Exception as error:
        told = str(error) if isinstance(error, SegpruneError) else refusal(error)
        if told is None:
            raise
        log.error("segprune: %s", told)
        return MISTAKE
    lines = list[str]()
    if data is not None and data.summary:
        lines += [as_text(data.summary, data.classes), ""]
    lines.append(
        {0: "nothing is wrong", 1: "1 problem:"}.get(len(case.problems), f"{len(case.problems)} problems:")
    )
    for number, problem in enumerate(case.problems, 1):
        lines.append(f"{number}. {problem.text}")
        lines += [
            f"   {shlex.quote(override(f'dataset.{key}', value))}" for key, value in problem.keys.items()
        ]
    lines += [f"note: {note}" for note in dict.fromkeys(case.notes)]
    log.info("%s", "\n".join(lines))
    if data is None:
        log.info("\n%s", case.remedy)
        return MISTAKE
    log.info("%s", pace(data))
    given = {key: shlex.quote(override(f"dataset.{key}", value)) for key, value in case.keys.items()}
    small = {f"{key}={len(data.fit)}": key for key, size in found.batch_sizes.items() if size > len(data.fit)}
    if small:
        log.info("The batches are larger than the %d training images: %s", len(data.fit), " ".join(small))
    kept = [
        text for text in arguments if text.lstrip("+").partition("=")[0].removeprefix("dataset.") not in given
    ]
    log.info("\n%s", " ".join(["python run.py", *map(shlex.quote, kept), *given.values(), *small]))
    return MISTAKE if case.problems else 0
