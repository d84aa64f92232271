from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segprune.errors import ConfigError
from segprune.stage.contract import Context
from tests.distill.test_kd import kd
from tests.distill.test_kept_logits import Flipped
from tests.stage.test_fit import stage as fit
from tests.stage.test_prune import stage as prune
from tests.stage.test_prune import with_norms
from tests.stage.test_teaching import NOBODY, Noted, finetune, named, weights
from tests.tiny import tiny_context

KEPT = {**NOBODY, "cache_logits": True}


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    return tiny_context(tmp_path, build=with_norms)


@pytest.mark.slow
def test_a_student_learns_the_same_from_kept_logits_which_are_computed_once_for_all_students(
    ctx: Context,
) -> None:
    trail = fit(epochs=1)(ctx, ())
    for ratio in (0.3, 0.5):
        cut = prune(ratio=ratio)(ctx, trail)
        by_logits, by_teacher = (finetune(kd(), teacher)(ctx, cut)[-1] for teacher in (KEPT, NOBODY))
        assert by_logits.fingerprint != by_teacher.fingerprint
        for ours, theirs in zip(weights(by_logits), weights(by_teacher), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert len([*ctx.store.root.glob("logits/*/logits.bin")]) == 1
    object.__setattr__(ctx, "tracker", Noted())
    finetune(kd(), KEPT, epochs=1)(ctx, trail)
    assert ctx.tracker.values["finetune/teacher_mb"] == 0  # no weights are needed


@pytest.mark.slow
def test_other_teachers_have_other_logits(tmp_path: Path, ctx: Context) -> None:
    trail = fit(epochs=1)(ctx, ())
    (other,) = fit(epochs=2)(tiny_context(tmp_path, build=with_norms, seed=1), ())
    finetune(kd(), KEPT)(ctx, trail)
    finetune(kd(), named(other, cache_logits=True))(replace(ctx, teachers=lambda: (other,)), trail)
    assert len([*ctx.store.root.glob("logits/*/logits.bin")]) == 2


def test_images_that_change_are_refused_and_those_that_do_not_are_let_through(ctx: Context) -> None:
    finetune(kd(), KEPT).refuse(ctx, ())
    moving = replace(ctx, data=replace(ctx.data, fit=Flipped(8, seed=0)))
    with pytest.raises(ConfigError, match=r"change from epoch to epoch.*cache_logits=false.*augment\.flip=0"):
        finetune(kd(), KEPT).refuse(moving, ())
