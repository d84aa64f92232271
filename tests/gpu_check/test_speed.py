import re
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from segprune.gpu_check import speed
from segprune.gpu_check.speed import evaluation_speed, latency, training_speed
from segprune.measure.runners import Predicts
from segprune.training.step import Step
from tests.gpu_check.benches import small
from tests.gpus import with_gpus, without_memory

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor"),
]
GPU = torch.device("cuda", 0)


def test_speeds_are_measured(tmp_path: Path) -> None:
    bench = small(tmp_path)  # whether they hold is nothing that a busy CPU can say
    shape = (
        r"\d+\.\d images/s, \d+\.\d\d of a bare loop; peak 0 MB, \+0\.0 MB from step 10 to 40; 0\.00 waits.*"
    )
    assert re.fullmatch(shape, training_speed(bench).measured)
    assert re.fullmatch(
        r"x\d\.\d{3} against its copy; the work takes \d+ % of the time.*", latency(bench).measured
    )
    assert re.fullmatch(r"\d+\.\d{3} s an image and network", evaluation_speed(bench).measured)


def test_training_on_a_gpu_is_watched_for_memory_and_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, bench = with_gpus(monkeypatch, 1), replace(small(tmp_path), device=GPU)
    driver.use(3_000_000)
    monkeypatch.setattr(speed, "STEPS", 4)
    monkeypatch.setattr(speed, "WARM", 1)
    with without_memory(answers=False):
        clean = training_speed(bench)
    assert re.search(r"peak 3 MB, \+0\.0 MB from step 1 to 4; 0\.00 waits a step", clean.measured)
    assert driver.modes == [1, 0]  # torch was told to warn, and to be quiet again

    plain = Step.backward

    def leaks(step: Step, *args: object) -> Tensor:
        driver.use(driver.used + 100_000)
        for _ in range(3):
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        return plain(step, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Step, "backward", leaks)
    with without_memory(answers=False), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = training_speed(bench)
    assert "+0.2 MB from step 1 to 4; 3.00 waits a step" in found.measured
    assert not found.holds


def test_passes_of_a_gpu_are_timed_beside_a_replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 1)
    replays: list[int] = []

    def graphed(run: Predicts, image: Tensor) -> Predicts:  # there is no graph without a GPU
        assert (image.device, tuple(image.shape)) == (GPU, (1, 3, 32, 32))
        logits = run(image)

        def replay(_: Tensor) -> Tensor:
            replays.append(1)
            return logits

        return replay

    monkeypatch.setattr(speed, "graphed", graphed)
    monkeypatch.setattr("segprune.measure.latency.GPU_WARMUP_S", 0.0)
    with without_memory():
        found = latency(replace(small(tmp_path), device=GPU))
    assert len(replays) == 5 + 20  # as often as the network
    assert found.measured.endswith("% of the time: the CPU that starts the work sets the time")


def test_evaluation_counts_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = with_gpus(monkeypatch, 1)
    with without_memory(answers=False):
        found = evaluation_speed(replace(small(tmp_path), device=GPU))
    assert re.fullmatch(r"\d+\.\d{3} s an image and network", found.measured)
    assert driver.waits == 2  # the clock is read when the GPU is done
