from dataclasses import replace

from segprune.report.collect import JobData
from segprune.report.verdict import contests
from tests.report.sweeps import job_data, sweep
from tests.rows import changed


def notes_of(jobs: list[JobData]) -> tuple[str, ...]:
    (found,) = contests(sweep(jobs))
    return found.notes


def test_seeds_that_share_a_dense_network_are_said_to() -> None:
    def shared(job: JobData, name: str) -> JobData:
        rows = (changed(job.outcome.rows[0], fingerprint=name), *job.outcome.rows[1:])
        return replace(job, outcome=replace(job.outcome, rows=rows))

    jobs = [job_data(seed, "l1", 40.0 + seed, seed=seed) for seed in range(3)]
    one = notes_of([shared(job, "a") for job in jobs])
    assert one[0].startswith(
        "The 3 seeds share one dense network: intervals over seeds say what another draw"
    )
    two = notes_of([shared(job, "a" if job.outcome.seed else "b") for job in jobs])
    assert two[0].startswith("The 3 seeds share 2 dense networks: ")
    assert "share" not in " ".join(notes_of(jobs))


def test_a_method_above_the_dense_network_is_pointed_out() -> None:
    # the dense network has 50 %
    found = notes_of([job_data(0, "l1", 50.0), job_data(1, "random", 51.0)])
    assert found[0].startswith("Above the dense network: random. More training may lift that too, ")


def test_equal_channels_at_unequal_compute_are_pointed_out() -> None:
    found = notes_of([job_data(0, "l1", 40.0, macs_kept=0.5), job_data(1, "random", 39.0, macs_kept=0.6)])
    assert found[:1] == (
        "Equal channels are not equal compute: 50.0 to 60.0 % of the MACs are kept; budget=macs compares at equal "
        "MACs",
    )


def test_compute_that_is_not_known_is_left_out_of_the_comparison() -> None:
    known = {"l1": 0.5, "random": 0.6, "taylor": None}
    found = notes_of(
        [job_data(n, name, 40.0, macs_kept=kept) for n, (name, kept) in enumerate(known.items())]
    )
    assert "50.0 to 60.0 % of the MACs are kept" in found[0]
