from segprune.report.lacking import lacking
from segprune.report.paired import by_seed
from segprune.report.references import references
from segprune.report.verdict import contests
from tests.report.sweeps import dense, job_data, sweep, unfinished

BOTH = [
    job_data(10 * n + seed, name, 40.0 + n, seed=seed)
    for n, name in enumerate(("random", "l1", "taylor"))
    for seed in (0, 1)
]
DENSE = [dense(50 + seed, 50.0, seed=seed) for seed in (0, 1)]


def reasons(jobs: list, others: list, waiting: list = []) -> list[str]:  # type: ignore[type-arg]  # noqa: B006
    (contest,) = contests(sweep([*jobs, *others]))
    methods = {job.method: by_seed(one for one in jobs if one.method == job.method) for job in jobs}
    controls = tuple(references(others, jobs[0], methods, "taylor"))
    return lacking([one for one in contest.standings if one.is_equal], jobs, controls, waiting)


def test_a_comparison_with_all_controls_and_seeds_lacks_nothing() -> None:
    assert reasons(BOTH, DENSE) == []


def test_what_is_not_finished_is_not_called_absent() -> None:
    late = [unfinished(job) if job.method == "random" or job.outcome.seed else job for job in BOTH]
    assert reasons(late, DENSE[:1], [unfinished(DENSE[1])]) == []
    assert reasons(late[1:], DENSE) == [
        "fewer than 2 seeds of random (3 are recommended)",
        "the methods were not run with the same seeds",
    ]


def test_a_control_that_failed_did_not_go_missing() -> None:
    failed = [
        job_data(n, name, None, seed=seed) for n, name in enumerate(("random", "l1")) for seed in (0, 1)
    ]
    assert "the controls random and l1 failed" in reasons([*BOTH[4:], *failed], DENSE)
    assert "no controls random and l1" in reasons(BOTH[4:], DENSE)
