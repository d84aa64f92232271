"""How long commands take before there is anything to compute."""

from collections.abc import Iterator
from functools import partial

from segprune.bench.commands import of_command
from segprune.bench.contract import Bench, Figure
from segprune.bench.spent import Spent, in_turns, times

AT_ONCE_S, PLAN_S, PLAN_JOBS = 1.0, 20.0, 300
NINE = ("pruner=taylor,fpgm,sirfp", "ratio=0.2,0.3,0.5")


def measure(bench: Bench) -> Iterator[Figure]:
    """Help, a composed configuration, what a process of a job imports, and plans of few and of many jobs.

    A plan composes and checks every job, looks into the store, and times some steps of unknown networks.
    """

    def spent(name: str, *arguments: str) -> Spent:
        environment = {"SEGPRUNE_OUTPUTS": str(bench.outputs)}
        return of_command(arguments, output=bench.folder / name, environment=environment)

    commands = {
        "run.py --help": ("run.py", "--help"),
        "run.py --cfg job": ("run.py", "--cfg", "job"),
        "import of a run": ("-c", "import segprune.app"),
    }
    goals = {"run.py --help": AT_ONCE_S, "run.py --cfg job": AT_ONCE_S}
    works = {name: partial(spent, name.replace(" ", "_"), *line) for name, line in commands.items()}
    found = in_turns(works, bench.turns(5, 2))
    for name, all_of in found.items():
        yield from times(name, all_of, "one process", goal=goals.get(name))
    for jobs in (9, bench.size(PLAN_JOBS, 30)):
        plan = [spent(f"plan_{jobs}", "run.py", "-m", *grid(jobs), "hydra/launcher=plan", "tracking=silent")]
        yield from times(
            f"plan of {jobs} jobs", plan, "unet, streets", goal=PLAN_S if jobs == PLAN_JOBS else None
        )


def grid(jobs: int) -> tuple[str, ...]:
    """Overrides that make so many jobs: three criteria, three ratios, and as many seeds as it takes.

    Raises:
        ValueError: It is no multiple of 3.
    """
    if jobs % 3:
        raise ValueError(f"{jobs} jobs are no multiple of three criteria")
    seeds, ratios = (jobs // 9, NINE[1]) if jobs % 9 == 0 else (jobs // 3, "ratio=0.3")
    return (NINE[0], ratios, f"seed={','.join(map(str, range(seeds)))}")
