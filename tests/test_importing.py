import gc

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
