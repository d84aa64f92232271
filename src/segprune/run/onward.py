"""What a run leaves to go on from: its last checkpoint, and the command that does."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

from segprune.checkpoint.contract import DESCRIPTION
from segprune.config.spelled import override
from segprune.result.files import PLAN
from segprune.run.assemble import Run
from segprune.stage.state import Trail
from segprune.transform.cut import Cut

NEXT = {"dense": "[prune,finetune,eval]", "cut": "[finetune,eval]", "tuned": "[export,eval]"}
"""Kind of the last network -> the stages that usually follow."""
OF_THIS_RUN = ("stages", "checkpoint", "baseline", "protocol", "hydra", "model.checkpoint", "sweep")
OF_A_CUT = ("pruner", "budget", "ratio", "rounds", "phase_epochs", "init")


def onward(run: Run, trail: Trail) -> list[str]:
    """Lines that name the checkpoint of the last network and what to type to go on from it; none without one."""
    kept = [state for state in trail if state.folder is not None and (state.folder / DESCRIPTION).exists()]
    if not kept or kept[-1].folder is None:
        return []
    last, folder = kept[-1], Path(kept[-1].folder)
    is_cut = any(isinstance(one, Cut) for one in last.transforms)
    past = last.ancestry.steps if last.ancestry else ()
    name = past[-1].network if past else last.name  # in a comparison it has another one
    kind = "tuned" if name == "finetuned" else "cut" if is_cut else "dense"
    without = OF_THIS_RUN if kind == "dense" else (*OF_THIS_RUN, *OF_A_CUT)
    typed = [one for one in run.job.overrides if not _is_about(one, without)]
    start = [f"stages={NEXT[kind]}", override("checkpoint", str(folder))]
    command = ["segprune", "run", *run.job.places, *start, *typed]
    return [f"checkpoint: {folder}", f"go on from it: {shlex.join(command)}", *_other_thresholds(run, trail)]


def _other_thresholds(run: Run, trail: Trail) -> Iterator[str]:
    """The sweep over thresholds that fit the scores, where the run cut by one."""
    if run.facts.threshold is None or "prune" not in run.settings.stages:
        return
    plans = [state.folder / PLAN for state in trail if state.folder is not None]
    made = [json.loads(path.read_text(encoding="utf-8")) for path in plans if path.exists()]
    if found := made[-1].get("thresholds") if made else None:
        typed = [one for one in run.job.overrides if not _is_about(one, ("budget.threshold", "hydra"))]
        values = ",".join(map(str, found.values()))
        command = shlex.join(["segprune", "sweep", *run.job.places, *typed, f"budget.threshold={values}"])
        yield f"thresholds that {', '.join(found)} of channels score below: {command}"


def _is_about(override: str, keys: tuple[str, ...]) -> bool:
    """Whether an override sets one of these keys or groups, or something below one."""
    key = override.lstrip("+~").partition("=")[0].partition("@")[0]
    return any(key == one or key.startswith((f"{one}.", f"{one}/")) for one in keys)
