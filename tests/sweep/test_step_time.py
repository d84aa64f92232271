import time
from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor

from segprune.dataset.contract import Batch
from segprune.stage.contract import Context
from segprune.sweep.step_time import affordable, step_time
from tests.tiny import Items, tiny_context, tiny_data, tiny_schedule
from tests.toys import Plain

PASS_S, LOAD_S = 0.02, 0.01


class Slow(Plain):
    """A network of which a pass takes a known time at least."""

    pass_s = PASS_S

    def forward(self, image: Tensor) -> Tensor:
        time.sleep(self.pass_s)
        return super().forward(image)


class SlowItems(Items):
    """Images that take a known time at least."""

    load_s = LOAD_S

    def __getitem__(self, index: int, /) -> Batch:
        time.sleep(self.load_s)
        return super().__getitem__(index)


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    return tiny_context(tmp_path, build=Slow, data=tiny_data(fit=SlowItems(8, seed=0)))


def test_what_takes_time_is_timed(ctx: Context) -> None:
    found = step_time(ctx, tiny_schedule(batch_size=4), 10)
    assert found is not None
    assert found.batch == 4
    assert found.evaluated_s >= PASS_S
    assert found.trained_s >= LOAD_S + PASS_S / 4  # images are loaded one by one, and pass together
    assert not ctx.store.root.exists()


def test_processes_load_while_the_network_is_trained(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    # so long that what a busy machine adds to either is less than what they save
    monkeypatch.setattr(Slow, "pass_s", 4 * 0.1)
    monkeypatch.setattr(SlowItems, "load_s", 0.1)
    at = replace(ctx, hardware=replace(ctx.hardware, workers=1))
    alone, beside = (step_time(one, tiny_schedule(batch_size=4), 60) for one in (ctx, at))
    assert alone is not None
    assert beside is not None
    assert 0.1 <= beside.trained_s < alone.trained_s


def test_a_job_that_does_not_train_is_timed_too(ctx: Context) -> None:
    found = step_time(ctx, None, 10)
    assert found is not None
    assert (found.trained_s, found.batch) == (0, 0)


@pytest.mark.parametrize(
    ("batch", "left_s", "size"),
    # two steps of an image take six passes, of 0.5 s each
    [(4, 60, 4), (4, 12, 4), (4, 11, 3), (4, 6, 2), (4, 5, 0), (1, 3, 1), (1, 2, 0), (4, -1, 0)],
)
def test_batches_shrink_to_the_time_there_is(batch: int, left_s: float, size: int) -> None:
    assert affordable(batch, 0.5, left_s) == size


def test_without_time_there_is_no_step(ctx: Context) -> None:
    assert step_time(ctx, tiny_schedule(), 0) is None


@pytest.mark.parametrize("words", ["CUDA out of memory. Tried to allocate 2 GiB", "something else"])
def test_only_a_lack_of_memory_leaves_the_time_unknown(ctx: Context, words: str) -> None:
    def fails() -> Plain:
        raise RuntimeError(words)

    at = replace(ctx, build=fails)
    if "memory" in words:
        assert step_time(at, tiny_schedule(), 10) is None
    else:
        with pytest.raises(RuntimeError, match=words):
            step_time(at, tiny_schedule(), 10)
