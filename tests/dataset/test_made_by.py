import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from segprune.dataset import made_by
from segprune.dataset.made_by import read_by, written_as
from segprune.store.code import _Search, files_of

PACKAGE = Path(made_by.__file__).parent


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the sources, of which all digests are."""
    copied = Path(shutil.copytree(PACKAGE, tmp_path / "dataset", ignore=lambda *_: ["__pycache__"]))
    monkeypatch.setattr(made_by, "__file__", str(copied / "made_by.py"))
    forget()
    yield copied
    forget()


def forget() -> None:
    read_by.cache_clear()
    written_as.cache_clear()


def test_a_digest_changes_with_each_module_and_with_no_other(package: Path) -> None:
    digests = {read_by()}
    for name in made_by._READERS:
        with (package / f"{name}.py").open("a") as file:
            file.write("EDITED = 1\n")
        forget()
        digests.add(read_by())
    assert len(digests) == 1 + len(made_by._READERS)
    with (package / "weights.py").open("a") as file:
        file.write("EDITED = 1\n")
    forget()
    assert read_by() in digests


def test_a_digest_changes_with_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_by()
    with monkeypatch.context() as changed:
        changed.setattr("importlib.metadata.version", lambda _: "9.9")
        forget()
        other = read_by()
    forget()
    assert before == read_by() != other


def test_an_edited_process_keeps_what_it_first_saw(package: Path) -> None:
    before = written_as("weights")
    (package / "weights.py").write_text("")
    assert written_as("weights") == before


def test_no_module_that_reads_pixels_is_forgotten() -> None:
    code = _Search((), files_of)
    code.add("segprune.dataset.file_source")
    behind = {os.path.basename(path).removesuffix(".py") for path in code.code["dataset"]}
    # mask_code is handed over as an object; shared_memory holds pixels and changes none
    assert behind - {"__init__", "shared_memory"} | {"mask_code"} == {*made_by._READERS}
