from segprune.distill.none import untaught


def test_there_is_no_loss() -> None:
    assert untaught(match="epochs") is None  # type: ignore[func-returns-value]
