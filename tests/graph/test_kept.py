import pytest

from segprune.graph.kept import Kept


def test_what_nobody_asked_for_longest_goes_first() -> None:
    kept, looked = Kept[str](2), []

    def ask(key: str) -> str:
        return kept(key, lambda: looked.append(key) or key.upper())

    assert [ask(key) for key in "abacab"] == list("ABACAB")
    assert looked == ["a", "b", "c", "b"]  # b went when c came, since a was asked for after it


def test_a_search_that_fails_is_made_again() -> None:
    kept = Kept[int](2)
    with pytest.raises(ZeroDivisionError):
        kept("key", lambda: 1 // 0)
    assert kept("key", lambda: 3) == 3
    assert kept("key", lambda: 4) == 3
