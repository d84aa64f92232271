import gc
from pathlib import Path

import pytest

from segprune.importing import importing


def test_python_looks_for_garbage_again_after_an_import_also_after_one_that_failed() -> None:
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled()


def test_within_another_import_and_where_nobody_looks_it_stays_off() -> None:
    with importing():
        with importing():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_through_what_an_import_brought_nobody_looks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "brought_by_a_test.py").write_text("held = [[] for _ in range(1000)]\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with importing():
        import brought_by_a_test  # type: ignore[import-not-found]

    assert not any(one is brought_by_a_test.held for one in gc.get_objects())
    kept = gc.get_freeze_count()
    with importing():
        import brought_by_a_test as again

    assert again is brought_by_a_test
    later: list[object] = []
    assert any(one is later for one in gc.get_objects())
    assert gc.get_freeze_count() <= kept
