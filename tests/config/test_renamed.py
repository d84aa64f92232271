import pytest

from segprune.config.renamed import of_today, override_of_today, renamed


@pytest.mark.parametrize(
    ("then", "today"),
    [
        ("weights=retrained", "init=scratch"),
        ("weights=inherited", "init=inherited"),
        ("weights=inherited,retrained", "init=inherited,scratch"),
        ("++stage.prune.weights=retrained", "++stage.prune.init=scratch"),
        ("~weights", "~init"),
        ("model.weights=imagenet", "model.weights=imagenet"),
        ("dataset.classes=[weights,retrained]", "dataset.classes=[weights,retrained]"),
    ],
)
def test_an_override_of_an_earlier_version_is_written_as_today(then: str, today: str) -> None:
    assert override_of_today(then) == today


def test_a_key_and_its_value_have_the_names_of_today() -> None:
    assert of_today("weights", "retrained") == ("init", "scratch")
    assert of_today("weights", "inherited") == ("init", "inherited")
    assert of_today("seed", "retrained") == ("seed", "retrained")


def test_only_keys_that_were_renamed_have_a_hint() -> None:
    assert renamed("weights") == "it is called init now, and its value retrained is now scratch."
    assert renamed("init") == renamed("model.weights") == ""
