from segprune.result.removed import removed_of


def test_a_plan_tells_what_it_removes_also_one_of_an_earlier_version() -> None:
    assert removed_of({"macs_removed": 0.25, "channels_removed": 0.5}, "macs") == 0.25
    assert removed_of({"macs": 0.25, "channels": 0.5}, "channels") == 0.5
