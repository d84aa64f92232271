import pytest

from segprune.bench.growth import exponent, grown


def test_a_power_is_found_again() -> None:
    assert exponent([1, 2, 5, 9], [3 * n**1.5 for n in (1, 2, 5, 9)]) == pytest.approx(1.5)
    assert exponent([10, 100], [7, 7]) == pytest.approx(0)


@pytest.mark.parametrize(("sizes", "seconds"), [([2, 2], [1, 1]), ([1, 2], [1, 0])])
def test_what_has_no_exponent_is_refused(sizes: list[float], seconds: list[float]) -> None:
    with pytest.raises(ValueError, match="no exponent fits"):
        exponent(sizes, seconds)


def test_every_size_is_done_once_before_it_is_measured() -> None:
    done: list[int] = []

    def work(size: int) -> None:
        done.append(size)
        sum(range(1000 * size))

    found = grown("sums", {10: 10, 40: 40}, work, 2, "numbers")
    assert done == [10, 40, 10, 40, 40, 10]
    assert (found.unit, found.count, found.sizes) == ("exponent", 2, "numbers, 10 to 40")
