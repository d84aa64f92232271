import argparse
from pathlib import Path

import pytest

from segprune.bench.contract import Bench
from segprune.bench.cuts import add_options, figures, measure
from segprune.errors import ConfigError
from segprune.measure.latency import Latency


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser.add_argument_group())
    return parser.parse_args(arguments)


def test_figures_say_how_much_of_the_promise_was_kept() -> None:
    # half the MACs promise x2; 12 ms against 10 and 7.5 ms pair to ratios 1.2 and 1.6: median 1.4, 0.7 of 2
    dense, half = Latency(times_ms=(12.0, 12.0), batch_size=1), Latency(times_ms=(10.0, 7.5), batch_size=1)
    found = list(figures("eager", [dense, half], ["dense", "half"], [1.0, 0.5], "toy"))
    assert [(one.what, one.value, one.unit, one.count) for one in found] == [
        ("dense, eager", 12.0, "ms", 2),
        ("half, eager", 8.75, "ms", 2),
        ("half, eager, speed-up", pytest.approx(1.4), "x", 2),
        ("half, eager, of the speed-up in MACs (x2.00)", pytest.approx(0.7), "fraction", 2),
    ]
    assert (found[2].low, found[2].high) == (pytest.approx(1.3), pytest.approx(1.5))


def test_every_cut_is_timed_in_every_runtime(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    chosen = options(
        *["--size", "32", "32", "--ratios", "0.5", "--round-to", "1", "8", "--clock", "cpu"],
        *["--runtimes", "eager", "onnxruntime"],
    )
    found = list(measure(chosen, Bench(folder=tmp_path, is_quick=True, rounds=1)))
    assert {one.sizes for one in found} == {
        "unet, 32x32 px, processor time, batch 1, 1 passes, CPU threads 1"
    }
    times = [one.what for one in found if one.unit == "ms"]
    names = ("dense", "-50% MACs, multiples of 1", "-50% MACs, multiples of 8")
    assert times == [f"{name}, {runtime}" for runtime in ("eager", "onnxruntime") for name in names]


def test_a_network_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no conf/model/mine\.yaml"):
        list(measure(options("--models", "mine"), Bench(folder=tmp_path, is_quick=True)))
