"""What tests of several rooms ask for by name."""

import gc
import importlib
import os
from collections.abc import Iterator

import psutil
import pytest

from segprune.dataset.workers import cores
from tests import tables
from tests.quick_hydra import CONF, read_files_once

# torch reads it when it is imported: toys gain nothing from threads, and those of two workers wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")
# and when there are several: not for long, as the command has it
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
# torch asks the processor for its instructions, and does not compile a program for each kind to try it
os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")
# torch compiles in the process that asks: processes of its own can keep a test from ending for minutes
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """One more than there are cores, since many tests wait for processes that they start; each takes up to 4 GB."""
    if config.option.numprocesses != "auto":
        return None
    return max(1, min(cores() + 1, psutil.virtual_memory().total // 4_000_000_000))


def pytest_collection() -> None:
    """Imports make hardly any garbage."""
    gc.disable()
    # it asks who refers to a library's generator, and does not see who is frozen
    importlib.import_module("hypothesis")
    read_files_once()


def pytest_collection_finish() -> None:
    """What the imports of all tests made stays: looking for garbage in it took a fifth of some tests' time."""
    gc.collect()
    gc.freeze()
    gc.enable()


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
