from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from segprune.config.compose import component, import_extensions, job_of_this_process, origins, settings_of
from segprune.errors import ConfigError
from segprune.pruner.fpgm import Fpgm


def config(**changes: Any) -> Any:
    groups = (
        "dataset",
        "model",
        "train",
        "pruner",
        "budget",
        "finetune",
        "between",
        "distill",
        "loss",
        "eval",
        "tracking",
    )
    values: dict[str, Any] = {group: {"_target_": f"segprune.{group}"} for group in (*groups, "calibration")}
    values |= {
        "ratio": 0.3,
        "phase_epochs": 8,
        "rounds": 1,
        "init": "inherited",
        "stretch": False,
        "seed": 0,
        "teacher": {"checkpoint": None, "model": None, "teaches": ["finetune"], "cache_logits": False},
        "stages": ["train", "prune", "finetune", "eval"],
        "stage": {word: {} for word in ("train", "prune", "finetune", "eval", "mine")},
        "checkpoint": None,
        "baseline": None,
        "device": "auto",
        "gpus": 1,
        "threads": None,
        "workers": 0,
        "store": {"root": "outputs/store", "reuse": True, "accept": []},
        "paths": {},
        "extensions": [],
        "log_checkpoint": True,
    }
    return OmegaConf.create({**values, **changes})


def test_a_sound_root_is_accepted() -> None:
    settings, values = settings_of(config())
    assert (settings.ratio, settings.store.root, values["seed"]) == (0.3, Path("outputs/store"), 0)


def test_a_stage_of_its_own_may_stand_anywhere() -> None:
    for stages in (["mine", "train", "eval"], ["train", "mine", "prune", "eval"], ["train", "eval", "mine"]):
        assert settings_of(config(stages=stages))[0].stages == stages


def test_an_argument_of_a_stage_has_the_key_that_gives_its_whole_value() -> None:
    stage = {
        "train": {"schedule": "${train}", "aux": "${train.aux} times", "many": 1},
        "mine": {"a": "${x.y}"},
    }
    assert origins(config(stage=stage)) == {"stage.train.schedule": "train", "stage.mine.a": "x.y"}


def test_messages_name_the_key_that_is_typed() -> None:
    node = {"_target_": "tests.config.test_compose.Holder", "held": {**FPGM, "norm_mix": "much"}}
    with pytest.raises(ConfigError, match=r"^pruner\.norm_mix is 'much'"):
        component(node, "stage.mine", extensions=["tests"], keys={"stage.mine.held": "pruner"})


def test_noise_of_float_ranges_is_rounded_away() -> None:
    assert settings_of(config(ratio=0.30000000000000004))[0].ratio == 0.3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ratio": 1.0}, r"ratio is 1\.0: input should be less than 1"),
        ({"ratio": -0.1}, r"ratio is -0\.1: input should be greater than or equal to 0"),
        ({"ratio": "half"}, r"ratio is 'half': input should be a valid number"),
        ({"rounds": 0}, r"rounds is 0: input should be greater than or equal to 1"),
        ({"init": "fresh"}, r"init is 'fresh': input should be 'inherited' or 'scratch'"),
        (
            {"weights": "retrained"},
            r"weights is not a key; it is called init now, and its value retrained is now scratch",
        ),
        ({"seed": -1}, r"seed is -1: input should be greater than or equal to 0"),
        ({"threads": 0}, r"threads is 0: input should be greater than or equal to 1"),
        ({"stages": []}, r"stages is \[\]: list should have at least 1 item"),
        ({"stages": ["train", "distil"]}, r"there is no stage\.distil\. Add \+stage@stage\.distil=distil to"),
        (
            {"stages": ["train", "mine", "eval", "finetune"]},
            r"in the order train, prune, finetune, eval\. Leave",
        ),
        (
            {"stages": ["prune", "train"]},
            r"each stage may occur once, in the order train, prune, finetune, eval",
        ),
        ({"stages": ["train", "train"]}, r"each stage may occur once"),
        ({"raito": 0.2}, r"raito is not a key.*Did you mean ratio\?"),
        ({"store": {"root": "a", "reuse": "sometimes"}}, r"store\.reuse is 'sometimes'"),
        (
            {"dataset": {"root": "???"}},
            r"dataset\.root is missing; give dataset\.root=\.\.\. on the command line",
        ),
        ({"ratio": "${nowhere}"}, r"ratio: Interpolation key 'nowhere' not found"),
    ],
)
def test_a_wrong_root_is_refused_with_key_value_and_remedy(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings_of(config(**changes))


class Holder:
    def __init__(self, held: Fpgm) -> None:
        self.held = held


FPGM = {"_target_": "segprune.pruner.fpgm.Fpgm", "norm_mix": 0.1, "normalize": "none"}


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
    node = {**FPGM, "_target_": "tests.config.test_compose.untyped"}
    with pytest.raises(ConfigError, match=r"whose arguments norm_mix, normalize have no type"):
        component(node, "pruner", extensions=["tests"])


def deferred(norm_mix: "Nowhere", normalize: str) -> object:  # type: ignore[name-defined]  # noqa: F821
    return norm_mix, normalize


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "tests.config.test_compose.deferred",
            r"whose arguments cannot be checked: name 'Nowhere' is not defined\. Give",
        ),
        ("tests.broken.Pruner", r"whose module cannot be imported: ZeroDivisionError: division by zero"),
    ],
)
def test_a_faulty_extension_is_named(path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"pruner\._target_ is '{path}', {message}"):
        component({**FPGM, "_target_": path}, "pruner", extensions=["tests"])


def test_an_extension_that_is_not_there_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"extensions is \['nowhere'\], but Python finds no package 'nowhere'"
    ):
        settings_of(config(extensions=["nowhere"]))


def test_true_is_no_number() -> None:
    with pytest.raises(ConfigError, match=r"seed is true: input should be a number"):
        settings_of(config(seed=True))
    with pytest.raises(ConfigError, match=r"pruner\.norm_mix is false: input should be a number"):
        component({**FPGM, "norm_mix": False}, "pruner")


def test_infinity_is_no_value() -> None:
    with pytest.raises(ConfigError, match=r"pruner\.norm_mix is nan: input should be a finite number"):
        component({**FPGM, "norm_mix": float("nan")}, "pruner")


def picky(norm_mix: float, normalize: str) -> object:
    raise ConfigError("pruner.fpgm is gone" if normalize == "x" else f"normalize is {normalize!r}")


def test_an_error_of_the_callable_says_where_its_keys_are() -> None:
    node = {**FPGM, "_target_": "tests.config.test_compose.picky"}
    with pytest.raises(ConfigError, match=r"^pruner: normalize is 'none'$"):
        component(node, "pruner", extensions=["tests"])()
    with pytest.raises(ConfigError, match=r"^pruner\.fpgm is gone$"):
        component({**node, "normalize": "x"}, "pruner", extensions=["tests"])()


def test_a_group_without_an_option_is_named() -> None:
    groups = ("dataset", "model", "pruner", "budget", "distill", "loss", "protocol", "train", "finetune")
    choices = dict.fromkeys(groups, "a")
    HydraConfig.instance().cfg = OmegaConf.create({"hydra": {"runtime": {"choices": choices}}})  # type: ignore[assignment]
    try:
        with pytest.raises(ConfigError, match=r"eval has no option, or several; give it one: eval=<option>"):
            job_of_this_process()
    finally:
        HydraConfig.instance().cfg = None


def test_an_extension_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torn.py").write_text("RATIO = 1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"torn cannot be imported: ZeroDivisionError"):
        import_extensions(["torn"])
