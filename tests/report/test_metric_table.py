from segprune.report.metric_table import metric_table
from segprune.report.verdict import contests
from segprune.result.metrics import declared
from tests.report.sweeps import dense, job_data, sweep


def lines(*jobs, contest=0):
    data = sweep(jobs)
    return {line.name: line for line in metric_table(data, contests(data)[contest])}


def test_metrics_are_means_over_seeds_in_units_that_the_name_says() -> None:
    found = lines(
        job_data(0, "l1", 40.0, seed=0, macs=2_000_000_000, channels=20_000, macs_kept=0.5),
        job_data(1, "l1", 44.0, seed=1, macs=4_000_000_000, channels=30_001, macs_kept=0.25),
        job_data(2, "l2", 45.0, seed=0, macs=6_000_000_000),
    )
    assert found["miou_percent"].values == ("50", "45", "42")  # dense, then the best method first
    assert found["gmacs"].values == ("0.71235", "6", "3")
    assert found["channels"].values == ("640", "640", "25000")
    assert found["macs_kept_percent"].values == ("100", "100", "37.5")
    assert found["miou_percent"].better == "higher"
    assert found["gmacs"].about == "Multiply-adds per image"


def test_what_was_not_measured_is_a_dash_and_what_nobody_measured_is_left_out() -> None:
    untimed = {name: None for name, metric in declared().items() if metric.is_timed}
    found = lines(job_data(0, "l1", 40.0), job_data(1, "l2", 41.0, **untimed, peak_memory_mb=None))
    assert found["speedup"].values == ("-", "-", "1.5")
    assert "speedup" not in lines(job_data(1, "l2", 41.0, **untimed))
    assert found["logit_mse"].values == ("-", "0.25", "0.25")


def test_jobs_at_another_budget_and_controls_do_not_count() -> None:
    jobs = job_data(0, "l1", 40.0), job_data(1, "l1", 20.0, ratio=0.5), dense(2, 52.0)
    assert lines(*jobs)["miou_percent"].values == ("50", "40")
    assert lines(*jobs, contest=1)["miou_percent"].values == ("50", "20")
