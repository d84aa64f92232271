"""The file that a killed training continues from: whatever is damaged is not used."""

import hashlib
import logging
from pathlib import Path

import pytest
import torch

from tests.tiny import tiny_schedule
from tests.training.test_loop import equal, run


@pytest.fixture(scope="module")
def progress(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What is on the disk after the first of two epochs."""
    folder = tmp_path_factory.mktemp("progress")

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, on_epoch=stop)
    return (folder / "progress.pt").read_bytes()


def test_truncated_or_flipped_anywhere_it_starts_again(
    tmp_path: Path, progress: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    step, path = len(progress) // 12, tmp_path / "progress.pt"
    lengths = (0, 1, 31, 32, *range(33, len(progress), step), len(progress) - 1)
    damaged = [progress[:length] for length in lengths]
    for position in range(0, len(progress), step):
        flipped = bytearray(progress)
        flipped[position] ^= 1
        damaged.append(bytes(flipped))
    with caplog.at_level(logging.INFO):
        for raw in (progress, *damaged):
            caplog.clear()
            path.write_bytes(raw)
            run(tmp_path, schedule=tiny_schedule(epochs=1, batch_size=8))
            assert ("continuing after epoch 1" in caplog.text) is (raw == progress)
            said = "progress.pt is damaged (its checksum is wrong); this training starts from its first epoch"
            assert (said in caplog.text) is (raw != progress)


def test_what_torch_cannot_read_starts_again_though_its_checksum_is_right(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, _ = run(tmp_path / "whole")
    (tmp_path / "foreign").mkdir()
    raw = b"of another version"
    (tmp_path / "foreign" / "progress.pt").write_bytes(raw + hashlib.sha256(raw).digest())
    again, _ = run(tmp_path / "foreign")
    assert equal(whole, again)
    assert "is damaged" in caplog.text


def test_memory_that_is_short_while_it_is_read_is_no_damage(
    tmp_path: Path, progress: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.")

    (tmp_path / "progress.pt").write_bytes(progress)
    monkeypatch.setattr(torch, "load", full)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        run(tmp_path)
    assert (tmp_path / "progress.pt").read_bytes() == progress
