from pathlib import Path

import numpy as np
import pytest

from segprune.dataset.band_statistics import bands_of, measured, statistics_file
from segprune.dataset.contract import Bands, Identity
from segprune.dataset.items import ArraySource
from segprune.errors import ConfigError

LABELS = np.zeros((2, 1, 2), np.uint8)
DEEP = ArraySource(np.array([[[[0, 65535]], [[65535, 65535]]]] * 2, np.uint16).reshape(2, 1, 2, 2), LABELS)


def of(source: ArraySource = DEEP, folder: Path = Path(), **changes: object) -> Bands | None:
    values = {"count": 2, "bits": 16, "mean": None, "std": None, "kept": folder / "a.json"}
    return bands_of(source, **{**values, **changes})


def test_mean_and_std_of_each_band_by_hand() -> None:
    mean, std = measured(DEEP)
    assert mean == pytest.approx((0.5, 1.0))
    assert std == pytest.approx((0.5, 1e-4))  # the second band is the same everywhere


def test_they_are_those_of_numpy() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 7, 5, 4), dtype=np.uint8)
    mean, std = measured(ArraySource(images, np.zeros((3, 7, 5), np.uint8)))
    assert mean == pytest.approx(tuple((images / 255).mean((0, 1, 2))))
    assert std == pytest.approx(tuple((images / 255).std((0, 1, 2))))


def test_rgb_of_8_bits_is_left_to_the_model_unless_numbers_are_given(tmp_path: Path) -> None:
    assert of(folder=tmp_path, count=3, bits=8) is None
    given = of(folder=tmp_path, count=3, bits=8, mean=(0.1, 0.2, 0.3), std=(1, 1, 1))
    assert given == Bands(count=3, bits=8, mean=(0.1, 0.2, 0.3), std=(1, 1, 1))
    assert not list(tmp_path.iterdir())


def test_what_was_measured_is_kept_and_a_damaged_file_is_measured_again(tmp_path: Path) -> None:
    first = of(folder=tmp_path)
    nothing = ArraySource(DEEP.images[:0], LABELS[:0])
    assert of(nothing, tmp_path) == first
    (tmp_path / "a.json").write_text("{")
    assert of(folder=tmp_path) == first


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mean": (0.5, 0.5)}, "given together"),
        ({"mean": (0.5,), "std": (1.0, 1.0)}, r"dataset\.mean is \[0\.5\]; it must be 2 numbers"),
        ({"mean": (0.5, 0.5), "std": (1.0, 0.0)}, r"dataset\.std is .* 2 numbers above 0"),
        ({"mean": (123.0, 117.0), "std": (58.0, 57.0)}, r"dataset\.mean is .* are divided by (255|65535)"),
        (
            {"mean": (0.5, -0.1), "std": (1.0, 1.0)},
            r"dataset\.mean is \[0\.5, -0\.1\]; .* of values in \[0, 1\]",
        ),
    ],
)
def test_wrong_numbers_are_refused(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        of(folder=tmp_path, **changes)


def test_the_file_follows_from_the_training_images_and_from_what_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (Identity(fit="f", calibration=c, select=None, report="r") for c in ("a", "b"))
    names = {statistics_file(tmp_path, one), statistics_file(tmp_path, one), statistics_file(tmp_path, other)}
    assert len(names) == 2
    with monkeypatch.context() as changed:
        changed.setattr("segprune.dataset.band_statistics.read_by", lambda: "another")
        names.add(statistics_file(tmp_path, one))
    with monkeypatch.context() as changed:
        changed.setattr("segprune.dataset.band_statistics.written_as", lambda *modules: "another")
        names.add(statistics_file(tmp_path, one))
    assert statistics_file(tmp_path, one) in names
    assert len(names) == 4
