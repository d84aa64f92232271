from segprune.bench.chain import BEFORE, by_stage, marks

LOG = """2026-03-01 10:00:01,250 INFO segprune.run.chain: [train]
2026-03-01 10:00:01,300 INFO segprune.training.loop: epoch   1/2  loss 1.0
2026-03-01 10:00:04,000 INFO segprune.run.chain: [prune]
2026-03-01 10:00:04,500 INFO segprune.run.chain: [eval]
"""


def test_a_log_file_says_when_stages_began() -> None:
    (train, first), (prune, second), (last, third) = marks(LOG)
    assert (train, prune, last) == ("train", "prune", "eval")
    assert (round(second - first, 6), round(third - second, 6)) == (2.75, 0.5)


def test_a_part_lasts_until_the_next_one_begins_and_the_same_of_several_jobs_are_added() -> None:
    began = [("train", 12.0), ("prune", 20.0), ("eval", 21.0), ("prune", 24.0), ("eval", 24.5)]
    found = by_stage(began, started=10.0, ended=30.0)
    assert found == {BEFORE: 2.0, "train": 8.0, "prune": 1.0 + 0.5, "eval": 3.0 + 5.5}
    assert sum(found.values()) == 20.0
