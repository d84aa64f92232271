import logging

import pytest

from segprune.bench import lines, main
from segprune.errors import ConfigError
from segprune.measure.latency import Latency


def test_a_line_says_how_much_of_the_promise_was_kept() -> None:
    # half the MACs promise x2; 12 ms against 10 and 7.5 ms pair to ratios 1.2 and 1.6: median 1.4, 0.7 of 2
    dense, half = Latency(times_ms=(12.0, 12.0), batch_size=1), Latency(times_ms=(10.0, 7.5), batch_size=1)
    found = list(lines("eager", [dense, half], ["dense", "half"], [1.0, 0.5]))
    assert found == [
        ["dense", "1.000", "eager", "12.00", "x1.00 (1.00-1.00)", "1.00"],
        ["half", "0.500", "eager", "8.75", "x1.40 (1.30-1.50)", "0.70"],
    ]


def test_every_cut_is_timed_in_every_runtime(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("onnxruntime")
    with caplog.at_level(logging.INFO):
        options = [
            "--size",
            "32",
            "32",
            "--rounds",
            "1",
            "--ratios",
            "0.5",
            "--round-to",
            "1",
            "8",
            "--clock",
            "cpu",
        ]
        main([*options, "--runtimes", "eager", "onnxruntime"])
    assert "unet, 32x32 px, processor time, batch 1, 1 passes, CPU threads 1, load " in caplog.text
    for name in ("dense", "-50% MACs, multiples of 1", "-50% MACs, multiples of 8"):
        assert caplog.text.count(f"{name} ") == 2


def test_a_network_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"there is no conf/model/mine\.yaml"):
        main(["--models", "mine"])
