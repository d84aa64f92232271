from pathlib import Path

import pytest
import torch

from segprune import checkpoint
from segprune.errors import CheckpointError
from segprune.start import start_of_trail
from tests.test_assemble import composer, settings
from tests.tiny import tiny_context, tiny_net

__all__ = ["composer"]  # a fixture that starts Hydra for every test of this file


def starting(folder: Path, **about: object):
    classes = ["none", "red", "green", "blue"]
    place = folder / "made"
    place.mkdir()
    checkpoint.write(place, tiny_net(), plans=(), about={"classes": classes, **about})
    wanted = settings("stages=[prune,eval]", f"checkpoint={place}")
    return start_of_trail(wanted, tiny_context(folder))


def test_a_chain_that_trains_starts_with_nothing(tmp_path: Path) -> None:
    assert start_of_trail(settings(), tiny_context(tmp_path)) == ()


def test_a_chain_can_start_with_the_network_of_a_checkpoint(tmp_path: Path) -> None:
    (state,) = starting(tmp_path)
    assert (state.name, state.plans) == ("dense", ())
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(state.net(image), tiny_net().eval()(image))


def test_a_checkpoint_for_other_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"was made for the classes \['cat'\].*Choose the dataset"):
        starting(tmp_path, classes=["cat"])
