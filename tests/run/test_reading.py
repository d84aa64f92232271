from pathlib import Path

import pytest
import torch

from segprune.checkpoint import checkpoint
from segprune.checkpoint.contract import DESCRIPTION
from segprune.run.reading import state_of
from tests.stage.test_fit import stage as fit
from tests.tiny import tiny_context, tiny_net


def test_a_result_of_a_store_keeps_its_fingerprint_wherever_it_is_until_it_is_changed(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    (made,) = fit(epochs=1)(ctx, ())
    folder = made.folder
    assert folder is not None
    again = state_of(ctx, folder, tiny_net)
    assert (again.fingerprint, again.folder) == (made.fingerprint, folder)
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(again.net(image), made.net(image))
    moved = folder.rename(tmp_path / "moved")
    assert state_of(ctx, moved, tiny_net).fingerprint == made.fingerprint
    (moved / DESCRIPTION).write_text((moved / DESCRIPTION).read_text() + "\n")
    assert state_of(ctx, moved, tiny_net).fingerprint != made.fingerprint


def test_a_checkpoint_is_told_by_its_weights_and_its_architecture(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    checkpoint.write(tmp_path, tiny_net(), transforms=(), about={"classes": list(ctx.about["classes"])})
    keys = {
        state_of(ctx, tmp_path, tiny_net, model).fingerprint for model in (None, {"width": 4}, {"width": 8})
    }
    assert len(keys) == 3


@pytest.mark.parametrize("bands", [None, {"count": 3, "bits": 8, "mean": [0, 0, 0], "std": [1, 1, 1]}])
def test_usual_bands_need_no_words(bands: object, tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    about = {"classes": list(ctx.about["classes"]), **({"bands": bands} if bands else {})}
    checkpoint.write(tmp_path, tiny_net(), transforms=(), about=about)
    if bands is None:
        assert state_of(ctx, tmp_path, tiny_net).transforms == ()
    else:
        with pytest.raises(Exception, match="the dataset has 3 bands of 8 bits"):
            state_of(ctx, tmp_path, tiny_net)
