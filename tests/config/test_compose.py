from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from segprune.config.compose import job_of_this_process, origins, settings_of
from segprune.errors import ConfigError


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


def test_an_extension_that_is_not_there_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"extensions is \['nowhere'\], but Python finds no package 'nowhere'"
    ):
        settings_of(config(extensions=["nowhere"]))


def test_true_is_no_number() -> None:
    with pytest.raises(ConfigError, match=r"seed is true: input should be a number"):
        settings_of(config(seed=True))


def test_a_group_without_an_option_is_named() -> None:
    groups = ("dataset", "model", "pruner", "budget", "distill", "loss", "protocol", "train", "finetune")
    choices = dict.fromkeys(groups, "a")
    HydraConfig.instance().cfg = OmegaConf.create({"hydra": {"runtime": {"choices": choices}}})  # type: ignore[assignment]
    try:
        with pytest.raises(ConfigError, match=r"eval has no option, or several; give it one: eval=<option>"):
            job_of_this_process()
    finally:
        HydraConfig.instance().cfg = None
