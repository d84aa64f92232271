from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from segprune.errors import ConfigError
from segprune.schedule.schedule import Schedule
from segprune.stage.identity import identity
from tests.tiny import tiny_schedule


@dataclass(frozen=True)
class Holder:
    held: object


@pytest.mark.parametrize(
    "hold", [lambda one: one, lambda one: [one], lambda one: {"a": (one,)}, lambda one: Holder({"b": one})]
)
def test_an_identity_tells_all_that_an_object_holds_however_deep(
    hold: Callable[[Schedule], object],
) -> None:
    one, same, other = (identity(Holder(hold(tiny_schedule(lr=lr)))) for lr in (0.1, 0.1, 0.2))
    assert one == same != other
    assert one["class"] == "tests.stage.test_identity.Holder"


@pytest.mark.parametrize("hold", [str, Path, lambda path: {"a": [str(path)]}, Holder])
def test_a_file_that_an_object_names_counts_with_its_content(
    hold: Callable[[Path], object], tmp_path: Path
) -> None:
    table = tmp_path / "table"
    found = []
    for content in ("one", "one", "two"):
        table.write_text(content)
        found.append(identity(Holder(hold(table))))
    assert found[0] == found[1] != found[2]


def test_what_is_no_dataclass_object_has_no_identity() -> None:
    for part in (3, Holder):
        with pytest.raises(ConfigError, match="must be a dataclass: its fields tell its results apart"):
            identity(part)
