"""What is spelled is read again as the same value, by a shell and by Hydra."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from segprune.config.spelled import override

VALUES = [
    None, 3, -1, 0.15, True, "road", "a b", "1", "1e3", "null", "true", "*_L.png", "x=y", 'say "a"', "ö", "a,b",
    "/data/größe 1", ["a", "b c"], {255: 1, 0: "ignore"}, {"shift": -1}, {"a b": [1, 2, 3], "c": [[1, 2, 3]]},
    {"images": "train", "masks": "trainannot"}, "back\\slash", "[x]", "", "-", "it's", "{a}", "${seed}x",
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_a_value_survives(value: object) -> None:
    (word,) = shlex.split(shlex.quote(override("dataset.key", value)))
    (parsed,) = OverridesParser.create().parse_overrides([word])
    found = parsed.value()
    assert (found if not hasattr(found, "text") else found.text) == value
