import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segprune.errors import ConfigError
from segprune.model.contract import SegmentationNet
from segprune.run.assemble import network_builder
from segprune.run.elsewhere import from_elsewhere, tell_quality
from segprune.run.start import start_of_trail
from segprune.stage.state import NetState
from tests.run.test_assemble import settings
from tests.tiny import tiny_context, tiny_net
from tests.toys import Residual

pytestmark = pytest.mark.usefixtures("composer")
PLAIN = (
    "model=module",
    "model.factory=tests.model.test_module:build",
    "model.classes_as=classes",
    "extensions=[tests]",
)


class Reads(SegmentationNet):
    """Reads the class of a pixel off its colour: red, green, blue, or none of them."""

    def __init__(self, *, is_right: bool) -> None:
        super().__init__()
        self.is_right, self.unused = is_right, torch.nn.Parameter(torch.zeros(1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = torch.cat([torch.full_like(image[:, :1], 0.5), image], 1)
        return logits if self.is_right else logits.flip(1)


@pytest.mark.slow
def test_weights_from_elsewhere_start_a_chain_without_training(tmp_path: Path) -> None:
    file = tmp_path / "best.pth"
    torch.save(tiny_net().state_dict(), file)
    chosen = settings(*PLAIN, f"model.checkpoint={file}", "stages=[prune,eval]")
    ctx = tiny_context(tmp_path)
    (state,) = start_of_trail(chosen, ctx)
    assert (state.name, state.transforms, state.folder) == ("start", (), None)
    assert state.ancestry is not None
    assert (state.ancestry.network, state.ancestry.steps) == ("start", ())
    other = replace(ctx, about={**ctx.about, "model_files": {"checkpoint": "another digest"}})
    assert from_elsewhere(chosen, other)[0].fingerprint != state.fingerprint
    assert from_elsewhere(settings(*PLAIN, f"model.checkpoint={file}"), ctx) == ()
    (again,) = start_of_trail(chosen, replace(ctx, seed=ctx.seed + 1))
    assert again.fingerprint == state.fingerprint  # the file has every tensor, so no seed draws any
    (drawn,) = start_of_trail(chosen, replace(ctx, build=Residual))
    assert drawn.fingerprint != state.fingerprint


@pytest.mark.parametrize("is_right", [True, False])
def test_how_good_the_weights_are_is_said_and_when_that_is_no_better_than_guessing(
    is_right: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = NetState(name="start", net=Reads(is_right=is_right), transforms=(), fingerprint="f")
    with caplog.at_level(logging.INFO):
        tell_quality(tiny_context(tmp_path), (state,))
    lines = [record.message for record in caplog.records]
    assert lines[0].startswith("model.checkpoint: mIoU ")
    assert lines[0].endswith(" on 8 training images")
    assert len(lines) == (1 if is_right else 2)


def test_a_factory_of_a_package_that_is_not_named_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.factory is 'timm\.x:y'.*'extensions=\[timm\]'"):
        network_builder(settings("model=module", "model.factory=timm.x:y"))
