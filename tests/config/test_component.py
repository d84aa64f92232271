from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from segprune.config.component import component, import_extensions
from segprune.errors import ConfigError
from segprune.pruner.contract import Pruner
from segprune.pruner.fpgm import Fpgm


class Holder:
    def __init__(self, held: Fpgm) -> None:
        self.held = held


@dataclass(frozen=True)
class Unnamed:
    """A pruner that lacks what the protocol asks for besides a call."""

    def __call__(self) -> None:
        pass


class Taker:
    def __init__(self, pruner: Pruner) -> None:
        self.pruner = pruner


FPGM = {"_target_": "segprune.pruner.fpgm.Fpgm", "norm_mix": 0.1, "normalize": "none"}


def test_messages_name_the_key_that_is_typed() -> None:
    node = {"_target_": "tests.config.test_component.Holder", "held": {**FPGM, "norm_mix": "much"}}
    with pytest.raises(ConfigError, match=r"^pruner\.norm_mix is 'much'"):
        component(node, "stage.mine", extensions=["tests"], keys={"stage.mine.held": "pruner"})


def test_a_component_is_its_callable_with_checked_arguments() -> None:
    assert component(FPGM, "pruner")() == Fpgm(norm_mix=0.1, normalize="none")


def test_runtime_arguments_are_given_late_and_not_in_yaml() -> None:
    node = {
        "_target_": "segprune.model.unet.unet",
        "width": 8,
        "max_width": 16,
        "depth": 2,
        "convs_per_level": 1,
    }
    node["upsample"] = "bilinear"
    net = component(node, "model", runtime=("num_classes",))(num_classes=5)
    assert sum(1 for _ in net.parameters()) > 0
    with pytest.raises(ConfigError, match=r"model\.num_classes is not a key"):
        component({**node, "num_classes": 5}, "model", runtime=("num_classes",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm_mx": 0.1}, r"pruner\.norm_mx is not a key; there are .*\. Did you mean pruner\.norm_mix\?"),
        ({"norm_mix": 1.5}, r"pruner\.norm_mix is 1\.5: input should be less than 1"),
        ({"norm_mix": "a lot"}, r"pruner\.norm_mix is 'a lot': input should be a valid number"),
        ({"normalize": "max"}, r"pruner\.normalize is 'max': input should be 'none' or 'mean'"),
        (
            {"_target_": "os.system"},
            r"pruner\._target_ is 'os\.system'; it must be a dotted path into segprune",
        ),
        ({"_target_": None}, r"pruner\._target_ is None; it must be a dotted path"),
        ({"_target_": "segprune.pruner.fpgm.Median"}, r"which cannot be imported"),
        ({"_target_": "segprune.pruner.nowhere.X"}, r"which cannot be imported"),
        ({"_target_": "segprune.store.store.SCHEMA"}, r"which is not callable"),
        ({"_target_": "segprune"}, r"pruner\._target_ is 'segprune'; it must be a dotted path"),
        ({"_target_": "segprune.errors.ConfigError"}, r"not callable with named arguments"),
    ],
)
def test_a_wrong_component_is_refused_with_its_full_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        component({**FPGM, **changes}, "pruner")


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(ConfigError, match=r"pruner\.normalize is missing; give pruner\.normalize=\.\.\."):
        component({k: v for k, v in FPGM.items() if k != "normalize"}, "pruner")


def test_every_wrong_key_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"norm_mix is 2.*\n.*normalize is 'max'"):
        component({**FPGM, "norm_mix": 2, "normalize": "max"}, "pruner")


def test_own_packages_may_be_named_as_extensions() -> None:
    node = {"_target_": "tests.toys.Plain"}
    with pytest.raises(ConfigError, match=r"To use your own package, name it in extensions"):
        component(node, "model")
    assert component(node, "model", extensions=["tests"])().training


def untyped(norm_mix, normalize):  # type: ignore[no-untyped-def]
    return norm_mix, normalize


def test_an_argument_without_a_type_is_refused() -> None:
    node = {**FPGM, "_target_": "tests.config.test_component.untyped"}
    with pytest.raises(ConfigError, match=r"whose arguments norm_mix, normalize have no type"):
        component(node, "pruner", extensions=["tests"])


def deferred(norm_mix: "Nowhere", normalize: str) -> object:  # type: ignore[name-defined]  # noqa: F821
    return norm_mix, normalize


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "tests.config.test_component.deferred",
            r"whose arguments cannot be checked: name 'Nowhere' is not defined\. Give",
        ),
        ("tests.broken.Pruner", r"whose module cannot be imported: ZeroDivisionError: division by zero"),
    ],
)
def test_a_faulty_extension_is_named(path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"pruner\._target_ is '{path}', {message}"):
        component({**FPGM, "_target_": path}, "pruner", extensions=["tests"])


def test_an_object_that_is_none_of_the_wanted_kind_is_told_what_it_lacks() -> None:
    node = {
        "_target_": "tests.config.test_component.Taker",
        "pruner": {"_target_": "tests.config.test_component.Unnamed"},
    }
    lacks = r"prune\.pruner is Unnamed\(\): it lacks name, needs, scope of Pruner in segprune\.pruner\.contract\.$"
    with pytest.raises(ConfigError, match=lacks):
        component(node, "prune", extensions=["tests"])


def test_true_is_no_number() -> None:
    with pytest.raises(ConfigError, match=r"pruner\.norm_mix is false: input should be a number"):
        component({**FPGM, "norm_mix": False}, "pruner")


def test_infinity_is_no_value() -> None:
    with pytest.raises(ConfigError, match=r"pruner\.norm_mix is nan: input should be a finite number"):
        component({**FPGM, "norm_mix": float("nan")}, "pruner")


def picky(norm_mix: float, normalize: str) -> object:
    raise ConfigError("pruner.fpgm is gone" if normalize == "x" else f"normalize is {normalize!r}")


def test_an_error_of_the_callable_says_where_its_keys_are() -> None:
    node = {**FPGM, "_target_": "tests.config.test_component.picky"}
    with pytest.raises(ConfigError, match=r"^pruner: normalize is 'none'$"):
        component(node, "pruner", extensions=["tests"])()
    with pytest.raises(ConfigError, match=r"^pruner\.fpgm is gone$"):
        component({**node, "normalize": "x"}, "pruner", extensions=["tests"])()


def test_an_extension_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torn.py").write_text("RATIO = 1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"torn cannot be imported: ZeroDivisionError"):
        import_extensions(["torn"])
