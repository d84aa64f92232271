from contextlib import nullcontext

import pytest
import torch

from segprune.errors import ConfigError
from segprune.run.hardware import hardware_of
from tests.gpus import with_gpus, without_memory
from tests.run.test_assemble import settings

pytestmark = pytest.mark.usefixtures("composer")


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "tpu0"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"device is '{device}', which cannot be used here.*Allowed are auto, cpu"
    ):
        hardware_of(settings(f"device={device}"))


def test_auto_finds_a_device() -> None:
    assert hardware_of(settings()).device.type in ("cpu", "cuda")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "current", "expected"),
    [("auto", 0, 0), ("cuda", 0, 0), ("cuda", 1, 1), ("cuda:0", 1, 0), ("cuda:1", 0, 1)],
)
def test_the_chosen_gpu_has_a_number_and_is_the_current_one(
    asked: str, current: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = with_gpus(monkeypatch, 2)
    driver.current = current
    with without_memory():
        found = hardware_of(settings(f"device={asked}")).device
    assert found == torch.device("cuda", expected)
    assert driver.made_current == [expected]


@pytest.mark.slow
def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 2)
    with pytest.raises(ConfigError, match=r"device is 'cuda:2'.*invalid device ordinal"):
        hardware_of(settings("device=cuda:2"))


@pytest.mark.slow
def test_a_gpu_without_code_in_this_build_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 1).capability = (7, 0)
    with pytest.raises(
        ConfigError, match=r"^device is 'auto', but Stub A100 has .* 7\.0.* CUDA 12\.6.*device=cpu\.$"
    ):
        hardware_of(settings("device=auto"))


@pytest.mark.slow
def test_a_driver_that_is_too_old_leaves_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 1, is_too_old=True)
    assert hardware_of(settings("device=auto")).device == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"device is 'cuda', which cannot be used here.*too old"):
        hardware_of(settings("device=cuda"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "there", "said"),
    [
        (["gpus=2"], 0, r"gpus is 2, but there is no GPU here that torch can use\. Give gpus=1; device=cpu"),
        (["gpus=4"], 2, r"gpus is 4, but this process can use 2 GPUs\. Give gpus=2"),
        (
            ["gpus=2", "device=cuda:0"],
            2,
            r"gpus is 2, but device is 'cuda:0', which is one GPU\. Give device=cuda",
        ),
    ],
)
def test_more_gpus_than_there_are_are_refused(
    asked: list[str], there: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if there:
        with_gpus(monkeypatch, there)
    elif torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with without_memory() if there else nullcontext(), pytest.raises(ConfigError, match=said):
        hardware_of(settings(*asked))


@pytest.mark.slow
def test_gpus_that_are_there_and_processes_on_a_cpu_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hardware_of(settings("gpus=2", "device=cpu")).gpus == 2
    with_gpus(monkeypatch, 2)
    with without_memory():
        assert hardware_of(settings("gpus=2")).gpus == 2
