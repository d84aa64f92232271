"""What Hydra refuses on a real command line is in tests/test_bad_config.py; here is what tells the cases apart."""

import pytest
from hydra import compose
from hydra._internal.utils import run_and_report
from hydra.errors import HydraException

from segprune.config.refusal import refusal
from segprune.measure.miou import segmentation_metrics

pytestmark = pytest.mark.usefixtures("composer")


def refused(*overrides: str) -> str | None:
    with pytest.raises((HydraException, ValueError), match=r".") as caught:
        compose("config", list(overrides))
    return refusal(caught.value)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (
            "pruner.foo=1",
            "'pruner.foo' is not a key of this configuration. There are variant. See all keys with",
        ),
        (
            "finetune.epoch=1",
            "'finetune.epoch' is not a key of this configuration. Did you mean 'finetune.epochs'?",
        ),
        (
            "dataset.root=/data",
            "'dataset.root' is not a key of this configuration, but one of dataset=folder (or ade20k, camvid, "
            "camvid_raw, cityscapes, coco, pets, torchvision, voc): give that too.",
        ),
        ("poly_power=1", "'poly_power' is not a key of this configuration. Did you mean 'train.poly_power'?"),
        (
            "budget=mac",
            "budget is 'mac'; it must be one of channels, latency, macs, params, threshold. Did you mean "
            "budget=macs?",
        ),
        (
            "ratio",
            "'ratio' is no override: Error parsing override 'ratio' missing EQUAL at '<EOF>'. Write key=value",
        ),
        (
            "ratio=0.1,0.2",
            "ratio=0.1,0.2 gives ratio several values, and this is a single run. To sweep over them add -m: python",
        ),
        (
            "hydra.mode=x",
            "Error merging override hydra.mode=x: hydra.mode: Invalid value 'x', expected one of",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line_with_what_there_is(override: str, told: str) -> None:
    said = refused(override)
    assert said is not None
    assert said.startswith(told)
    assert "\n" not in said


def test_an_error_that_hydra_did_not_foresee_is_its_own_all_the_same() -> None:
    assert "cannot be read: Config group override must be a string or a list" in str(refused("pruner=null"))


def test_an_error_of_the_program_is_not_hydras_even_when_hydra_called_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # hands errors on
    with pytest.raises(AttributeError, match="cpu") as caught:
        run_and_report(lambda: segmentation_metrics(None))  # type: ignore[arg-type]
    assert refusal(caught.value) is None
    assert refusal(ValueError("raised nowhere")) is None
