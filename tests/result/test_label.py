from hypothesis import given
from hypothesis import strategies as st

from segprune.result.label import labels, plain


def test_text_is_drawn_as_it_is_and_not_too_long() -> None:
    assert plain("a$b\nc") == r"a\$b c"
    assert plain("word " * 20 + "end", 14) == "word w...d end"
    assert plain("backbone.layer4.2.parametrizations.conv3", 20) == "backbone....ns.conv3"
    assert plain(" \n") == "-"


def test_names_that_differ_in_the_middle_get_the_letters_that_it_takes() -> None:
    assert labels(["abcdefghij", "abcd", "abcdefghij"], 7) == {"abcdefghij": "ab...ij", "abcd": "abcd"}
    # of 8 and 9 letters they are equal: abc...kl, abc...jkl
    assert labels(["abcXefghijkl", "abcYefghijkl"], 7) == {
        "abcXefghijkl": "abcX...jkl",
        "abcYefghijkl": "abcY...jkl",
    }
    assert labels([], 7) == {}


@given(st.lists(st.text("ab-", min_size=1, max_size=30)))
def test_different_names_have_different_texts(names: list[str]) -> None:
    found = labels(names, 9)
    assert list(found) == list(dict.fromkeys(names))
    assert len(set(found.values())) == len(found)
