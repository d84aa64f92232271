"""What tests of several rooms ask for by name."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tables

CONF = Path(__file__).parent.parent / "conf"
# torch reads it when it is imported: toys gain nothing from threads, and those of two workers wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")
# torch compiles in the process that asks: processes of its own can keep a test from ending for minutes
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")


@pytest.fixture
def composer() -> Iterator[None]:
    """Hydra, started on ``conf/``: what ``hydra.compose`` and ``tests.test_conf.composed`` need."""
    from hydra import initialize_config_dir
    from hydra.core.hydra_config import HydraConfig

    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield
    HydraConfig.instance().cfg = None


@pytest.fixture(scope="session", autouse=True)
def tables_are_made_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """For ``tests.tables.give_tables``."""
    base = tmp_path_factory.getbasetemp()
    tables.place = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
