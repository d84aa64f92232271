import math
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from segprune.config.explain import explain, spelled, switches_for_numbers


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    flip: float
    jitter: float


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    lr: Annotated[float, Field(gt=0)]
    size_hw: tuple[int, int]
    weights: Literal["none"] | Path
    augment: Inner


SOUND: dict[str, Any] = {
    "lr": 0.1,
    "size_hw": [2, 3],
    "weights": "none",
    "augment": {"flip": 0.5, "jitter": 0.0},
}


def explained(**changes: Any) -> str:
    given = {key: value for key, value in {**SOUND, **changes}.items() if value != "left out"}
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(given)
    return explain(caught.value, "model.", Outer.model_fields, given)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"lr": 0}, "model.lr is 0: input should be greater than 0."),
        ({"lr": math.inf}, "model.lr is inf: input should be a finite number."),
        ({"lr": "left out"}, "model.lr is missing; give model.lr=... on the command line."),
        ({"lr": None}, "model.lr is null: input should be a valid number."),
        ({"size_hw": [2, "a"]}, "model.size_hw.1 is 'a': input should be a valid integer"),
        ({"size_hw": [2]}, "model.size_hw is [2]: input should have more values."),
        ({"size_hw": 2}, "model.size_hw is 2: input should be a valid list."),
        ({"weights": 5}, "model.weights is 5: input should be 'none', or input is not a valid path."),
        ({"augment": 5}, "model.augment is 5: input should be a valid dictionary."),
        ({"augment": {"flip": 0.5}}, "model.augment.jitter is missing; give model.augment.jitter=... on"),
        (
            {"augment": {"flip": 0, "jitter": 0, "jiter": 1}},
            "model.augment.jiter is not a key; there are flip, jitter. Did you mean model.augment.jitter?",
        ),
        (
            {"size": 1},
            "model.size is not a key; there are lr, size_hw, weights, augment. Did you mean model.size_hw?",
        ),
    ],
)
def test_key_value_rule_and_remedy_are_told_without_the_types_of_the_program(
    changes: dict[str, Any], told: str
) -> None:
    said = explained(**changes)
    assert said.startswith(told)
    assert "\n" not in said


def test_many_missing_keys_of_one_place_are_one_line() -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({})
    assert explain(caught.value, "model.", Outer.model_fields, {}) == (
        "model lacks lr, size_hw, weights and 1 more; give it the option of a group, or all of them."
    )


def test_every_wrong_key_is_told_on_a_line_of_its_own() -> None:
    assert [line.split(" is ")[0] for line in explained(lr=0, augment=5).split("\n")] == [
        "model.lr",
        "model.augment",
    ]


def test_true_and_false_are_no_numbers() -> None:
    given = {"a": True, "b": [0.5, False], "c": {"d": True, "e": 1}, "f": True}
    taken = {"a": 1, "b": (0.5, 0.0), "c": {"d": 1.0, "e": 1}, "f": True}
    assert sorted(switches_for_numbers(given, taken, "x")) == [
        "x.a is true: input should be a number.",
        "x.b.1 is false: input should be a number.",
        "x.c.d is true: input should be a number.",
    ]


def test_values_are_spelled_as_yaml_does_and_cut_short() -> None:
    assert [spelled(value) for value in (None, True, False, 0, 1, "a")] == [
        *("null", "true", "false", "0", "1", "'a'"),
    ]
    assert spelled("x" * 500) == "'" + "x" * 119 + "..."
