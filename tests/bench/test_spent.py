import pytest

from segprune.bench.spent import Spent, compared, figure, here, in_turns, times


def spent(wall_s: float, cpu_s: float) -> Spent:
    return Spent(wall_s=wall_s, cpu_s=cpu_s)


def test_works_take_turns_and_every_second_round_goes_backwards() -> None:
    done: list[str] = []
    works = {name: lambda name=name: done.append(name) or len(done) for name in "abc"}
    found = in_turns(works, 3)
    assert "".join(done) == "abccbaabc"
    assert found == {"a": [1, 6, 7], "b": [2, 5, 8], "c": [3, 4, 9]}


def test_a_figure_is_the_median_with_its_range() -> None:
    one = figure("it", [4.0, 1.0, 2.0], "s", "small", goal=3)
    assert (one.value, one.low, one.high, one.count, one.goal) == (2.0, 1.0, 4.0, 3, 3)
    alone = figure("it", [4.0], "s", "small")
    assert (alone.value, alone.low, alone.high, alone.count) == (4.0, None, None, 1)
    with pytest.raises(ValueError, match="nothing was measured for it"):
        figure("it", [], "s", "small")


def test_ratios_are_taken_within_rounds() -> None:
    # a machine that slows down threefold in the second round changes no ratio: 2 and 2, of processors 3 and 3
    slow = [spent(2, 3), spent(6, 9)], [spent(1, 1), spent(3, 3)]
    wall, cpu = compared("it", *slow, "small", goal=1.05)
    assert (wall.unit, wall.value, wall.low, wall.high) == ("x", 2, 2, 2)
    assert (cpu.unit, cpu.value, cpu.goal) == ("x CPU", 3, 1.05)
    assert [(one.unit, one.value) for one in times("it", slow[0], "small")] == [("s", 4), ("CPU s", 6)]


def test_processor_time_is_of_the_work_and_not_of_waiting() -> None:
    waited = here(lambda: __import__("time").sleep(0.05))
    assert waited.wall_s >= 0.05 > waited.cpu_s
