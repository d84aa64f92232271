from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from segprune.checkpoint import checkpoint
from segprune.errors import CheckpointError, ConfigError, DataError
from segprune.model.contract import SegmentationNet
from segprune.model.copies import ready
from segprune.run import start
from segprune.run.assemble import stages_of
from segprune.run.start import refuse, start_of_trail
from segprune.store.code import code_of, files_of
from segprune.transform.registry import register
from tests.run.test_assemble import settings
from tests.stage.test_trial import Halving, Pooling
from tests.tiny import Items, tiny_context, tiny_data, tiny_net

pytestmark = pytest.mark.usefixtures("composer")
KEYS = {
    "stage.train.schedule": "train",
    "stage.prune.pruner": "pruner",
    "stage.prune.between": "between",
    "stage.finetune.schedule": "finetune",
}


def starting(folder: Path, **about: object):
    classes = ["none", "red", "green", "blue"]
    place = folder / "made"
    place.mkdir()
    checkpoint.write(place, tiny_net(), transforms=(), about={"classes": classes, **about})
    wanted = settings("stages=[prune,eval]", f"checkpoint={place}")
    return start_of_trail(wanted, tiny_context(folder))


def test_a_chain_that_trains_starts_with_nothing(tmp_path: Path) -> None:
    assert start_of_trail(settings(), tiny_context(tmp_path)) == ()


@pytest.mark.slow
def test_a_chain_can_start_with_the_network_of_a_checkpoint(tmp_path: Path) -> None:
    (state,) = starting(tmp_path)
    assert (state.name, state.transforms) == ("dense", ())
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(state.net(image), ready(tiny_net(), torch.device("cpu"))(image))


def test_a_checkpoint_for_other_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"was made for the classes \['cat'\].*Choose the dataset"):
        starting(tmp_path, classes=["cat"])


def fits(folder: Path, *overrides: str, images: int = 8, build=tiny_net) -> None:
    stages = stages_of(settings("pruner=l1", "ratio=0.5", *overrides), KEYS)
    data = tiny_data(fit=Items(images, seed=0), calibration=Items(images, seed=0))
    refuse(stages, replace(tiny_context(folder, data=data, build=build), keys=KEYS), ())


@pytest.mark.slow
def test_what_fits_is_let_through(tmp_path: Path) -> None:
    fits(tmp_path)
    fits(tmp_path, "train.batch_size=1", images=8)
    fits(tmp_path, "finetune=none", "finetune.batch_size=9")
    fits(tmp_path, build=Pooling)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["train.batch_size=9"], "train.batch_size"),
        (["finetune.batch_size=9"], "finetune.batch_size"),
        (["rounds=2", "between.batch_size=9"], "between.batch_size"),
    ],
)
def test_a_batch_that_can_never_be_filled_is_refused(tmp_path: Path, overrides: list[str], key: str) -> None:
    with pytest.raises(
        DataError, match=rf"{key} is 9, but the training images are only 8; give {key}=8 or less"
    ):
        fits(tmp_path, *overrides)


@pytest.mark.slow
def test_a_network_that_cannot_run_on_the_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dataset\.size_hw is \[16, 16\], on which the network cannot run"):
        fits(tmp_path, build=Halving)
    with pytest.raises(
        ConfigError, match=r"one image to calibrate on, .*give the dataset more training images"
    ):
        fits(tmp_path, "stages=[prune,eval]", "checkpoint=here", images=1, build=Pooling)


@pytest.mark.slow
def test_two_networks_of_one_name_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"stage\.prune and stage\.finetune both give a network named pruned, .*makes=<name>",
    ):
        fits(tmp_path, "stage.finetune.makes=pruned")
    fits(tmp_path, "stage.finetune.makes=pruned", "finetune=none")
    fits(tmp_path, "stage.finetune.makes=prepared")
    with pytest.raises(
        ConfigError, match=r"stage\.prune and stage\.finetune both give a network named prepared"
    ):
        fits(tmp_path, "stage.finetune.makes=prepared", "pruner=slimming")


@register
@dataclass(frozen=True)
class Marked:
    """A transform that leaves the weights as they are."""

    kind: ClassVar[str] = "marked_in_test_start"
    top: float

    def to_json(self) -> dict[str, Any]:
        return {"top": self.top}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Marked":
        return cls(float(values["top"]))

    def replay(self, net: SegmentationNet) -> SegmentationNet:
        return net

    def describe(self) -> str:
        return "marked"


@pytest.mark.slow
def test_networks_of_the_same_weights_after_other_transforms_are_not_one(tmp_path: Path) -> None:
    keys = set()
    for top in (0.5, 1.0):
        folder = tmp_path / str(top)
        folder.mkdir()
        ctx = tiny_context(tmp_path)
        about = {"model": {}, **ctx.about}
        checkpoint.write(folder, tiny_net(), transforms=(Marked(top),), about=about)
        (state,) = start_of_trail(settings("stages=[eval]", f"checkpoint={folder}"), ctx)
        keys.add(str(state.fingerprint))
    assert len(keys) == 2


def test_label_counts_of_other_code_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiny_data(label_counts=tmp_path / "these.json")
    sources = {"segprune.dataset.streets"}
    first = start._counted_by_this_code(data, sources).label_counts
    assert first == start._counted_by_this_code(data, sources).label_counts
    edited = {
        path: text + b"\nEDITED = 1" * (path == "dataset/augment.py")
        for path, text in files_of("segprune").items()
    }
    monkeypatch.setattr(start, "code_of", lambda modules: code_of(modules, read=lambda _: edited))
    assert start._counted_by_this_code(data, sources).label_counts != first
    assert start._counted_by_this_code(tiny_data(), sources).label_counts is None


@pytest.mark.slow
def test_a_checkpoint_for_other_bands_is_refused_with_the_keys_that_fit(tmp_path: Path) -> None:
    bands = {"count": 4, "bits": 16, "mean": [0.1, 0.2, 0.3, 0.4], "std": [1.0, 1.0, 1.0, 1.0]}
    said = r"'dataset\.bands=4' 'dataset\.mean=\[0\.1, 0\.2, 0\.3, 0\.4\]' 'dataset\.std=\[1\.0"
    with pytest.raises(CheckpointError, match=rf"the dataset has 3 bands of 8 bits\. Give {said}"):
        starting(tmp_path, bands=bands)
