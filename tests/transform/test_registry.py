import importlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from segprune.errors import CheckpointError, ConfigError
from segprune.model.contract import SegmentationNet
from segprune.transform import registry
from segprune.transform.cut import Cut
from segprune.transform.registry import from_record, register, to_record

HERE = Path("some/net.json")
PACKAGE = """
from dataclasses import dataclass
from typing import ClassVar

from segprune.transform.registry import register


@register
@dataclass(frozen=True)
class Halved:
    kind: ClassVar[str] = "halved"
    times: int

    def to_json(self):
        return {"times": self.times}

    @classmethod
    def from_json(cls, values):
        if type(values.get("times")) is not int:
            raise ValueError(f"times is {values.get('times')!r}, no whole number")
        return cls(values["times"])

    def replay(self, net):
        return net

    def describe(self):
        return f"halved {self.times} times"
"""


@pytest.fixture(autouse=True)
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_KINDS", dict(registry._kinds()))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "halving.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "halving"
    sys.modules.pop("halving", None)


def test_a_kind_of_this_package_is_known() -> None:
    record = to_record(Cut({"a": (0, 2)}))
    assert record == {"kind": "cut", "package": "segprune", "plan": {"a": [0, 2]}}
    assert from_record(record, source=HERE) == Cut({"a": (0, 2)})


def test_a_kind_of_a_users_package_is_known_once_the_package_is_imported(package: str) -> None:
    record = {"kind": "halved", "package": "halving", "times": 3}
    with pytest.raises(
        CheckpointError, match=r"some/net\.json .*'halved' of .*'halving'.*extensions=\[halving\]"
    ):
        from_record(record, source=HERE)
    assert package not in sys.modules
    halved = importlib.import_module(package).Halved
    assert from_record(record, source=HERE) == halved(3)
    assert to_record(halved(3)) == record


def test_damaged_values_are_refused_with_the_reason(package: str) -> None:
    importlib.import_module(package)
    with pytest.raises(CheckpointError, match=r"damaged transform of kind 'halved': times is None"):
        from_record({"kind": "halved", "package": "halving"}, source=HERE)
    with pytest.raises(CheckpointError, match=r"kind 'cut': a: 0: -1; input should be greater"):
        from_record({"kind": "cut", "package": "segprune", "plan": {"a": [-1]}}, source=HERE)


def test_what_cannot_name_a_package_is_not_put_into_a_command() -> None:
    with pytest.raises(
        CheckpointError, match=r"a transform of 'a\] b=\[', which cannot be the name of a package"
    ):
        from_record({"kind": "cut", "package": "a] b=["}, source=HERE)


@pytest.mark.parametrize(
    "record", [{}, {"kind": "cut"}, {"package": "segprune"}, {"kind": 1, "package": "a"}]
)
def test_a_record_without_kind_and_package_is_refused(record: Mapping[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="without kind and package; it is damaged"):
        from_record(record, source=HERE)


def test_a_kind_of_a_later_version_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(
        CheckpointError, match=r"'melted'; this version knows cut\. Use the version that wrote"
    ):
        from_record({"kind": "melted", "package": "segprune"}, source=HERE)


def test_a_word_of_this_package_is_not_another_packages(package: str) -> None:
    with pytest.raises(CheckpointError, match=r"kind 'cut' of the package 'elsewhere', which is not known"):
        from_record({"kind": "cut", "package": "elsewhere", "plan": {}}, source=HERE)


@dataclass(frozen=True)
class Other:
    kind: ClassVar[str] = "cut"

    def to_json(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_json(cls, _: Mapping[str, Any]) -> "Other":
        return cls()

    def replay(self, net: SegmentationNet) -> SegmentationNet:
        return net

    def describe(self) -> str:
        return "nothing"


def test_two_kinds_with_one_word_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"Other is a transform of kind 'cut', and so is segprune\.transform\.cut"
    ):
        register(Other)
    assert register(Cut) is Cut  # the same class once more


@dataclass(frozen=True)
class Unregistered(Other):
    kind: ClassVar[str] = "unregistered"


def test_what_could_not_be_read_again_is_not_written() -> None:
    with pytest.raises(ConfigError, match=r"Unregistered is not registered.*registry\.register"):
        to_record(Unregistered())
    with pytest.raises(ConfigError, match=r"Other is not registered"):
        to_record(Other())
