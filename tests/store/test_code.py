import json
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from segprune.store import code, libraries
from segprune.store.code import callables_of, code_of, files_of, modules_of, target_modules
from tests.tiny import tiny_schedule

HOME = {
    "stage/fit.py": "from segprune.training.loop import fit\nfrom segprune.stage.base import Context",
    "stage/base.py": "from segprune.store.store import Store\nfrom segprune.graph.cut import Plan\nx: Plan",
    "stage/__init__.py": "",
    "training/loop.py": "from segprune import seed\ndef fit():\n    from segprune.schedule import schedule as plan",
    "training/deep.py": "y = 1",
    "schedule/schedule.py": "from ..training import deep",
    "schedule/__init__.py": "",
    "graph/cut.py": "Plan = dict",
    "store/store.py": "from segprune.graph import cut",
    "report/page.py": "from segprune.stage import fit",
    "seed.py": "import random",
}
MINE = {"__init__.py": "", "net.py": "from .blocks.act import f", "blocks/act.py": "def f(x): return x\n"}


def found(
    *modules: str,
    without: tuple[str, ...] = (),
    home: Mapping[str, str] = HOME,
    **packages: Mapping[str, str],
) -> dict[str, str]:
    texts = {"segprune": home, **packages}

    def read(name: str) -> code.Files:
        return {path: text.encode() for path, text in texts.get(name, {}).items()}

    return code_of(modules, without=without, read=read)["code"]


def touched(*modules: str, home: Mapping[str, str] = HOME, without: tuple[str, ...] = ()) -> set[str]:
    """The files an edit of which is seen."""
    before = found(*modules, without=without, home=home)
    return {
        path
        for path, text in home.items()
        if found(*modules, without=without, home={**home, path: f"{text}\nz = 1"}) != before
    }


def test_imports_from_the_package_itself_are_followed_also_in_its_own_file() -> None:
    home = {"blocks/__init__.py": "from .act import f", "blocks/act.py": "f = 1", "act.py": "f = 2"}
    assert touched("segprune.blocks", home=home) == {"blocks/__init__.py", "blocks/act.py"}


KEPT = (
    "errors gpu shortage stop durable status checkpoint store tracking result.files stage.contract stage.kept"
)


@pytest.mark.parametrize("name", KEPT.split())
def test_what_keeps_or_tells_what_others_compute_is_not_followed(name: str) -> None:
    path = f"{name.replace('.', '/')}.py"
    home = {
        "work.py": f"from segprune import {name}" if "." not in name else f"import segprune.{name}",
        path: "x = 1",
    }
    assert touched("segprune.work", home=home) == {"work.py"}


def test_a_module_counts_with_all_that_it_imports_also_inside_functions_and_of_other_rooms() -> None:
    behind = {
        "training/loop.py",
        "seed.py",
        "schedule/schedule.py",
        "schedule/__init__.py",
        "training/deep.py",
    }
    assert touched("segprune.training.loop") == behind
    assert set(found("segprune.training.loop")) == {"training", "seed.py", "schedule"}


def test_what_is_for_annotations_or_is_only_kept_is_not_followed() -> None:
    assert touched("segprune.stage.base") == {"stage/base.py", "stage/__init__.py"}
    used = {**HOME, "stage/base.py": HOME["stage/base.py"] + " = Plan()"}
    assert "graph/cut.py" in touched("segprune.stage.base", home=used)
    for line in ("if TYPE_CHECKING:", "if typing.TYPE_CHECKING:"):
        checked = {
            **HOME,
            "seed.py": f"{line}\n    from segprune.graph import cut\nelse:\n    import segprune.report.page",
        }
        seen = touched("segprune.seed", home=checked)
        assert "graph/cut.py" not in seen
        assert "report/page.py" in seen


def test_an_import_that_nothing_uses_counts_since_it_may_hand_on() -> None:
    handed = {
        **HOME,
        "training/loop.py": "from segprune.training.deep import y",
        "seed.py": "import segprune.graph.cut",
    }
    assert "training/deep.py" in touched("segprune.training.loop", home=handed)
    assert "graph/cut.py" in touched("segprune.seed", home=handed)


def test_what_does_not_change_this_result_is_left_out_as_a_module_or_as_a_room() -> None:
    every = touched("segprune.stage.fit")
    assert every - touched("segprune.stage.fit", without=("seed",)) == {"seed.py"}
    behind = {"schedule/schedule.py", "schedule/__init__.py", "training/deep.py"}
    assert every - touched("segprune.stage.fit", without=("schedule",)) == behind
    assert every - touched("segprune.stage.fit", without=("schedule.schedule",)) == behind - {
        "schedule/__init__.py"
    }


SAME = """# words
'''What it is.'''
def fit ( ) :
  '''Fits.'''

  return { 'a' : 1 ,  }  # one
VERSION = 2
'''Raised.'''
"""
LINE = 'def fit():\n    return {"a": 1}\nVERSION = 2'


def test_comments_docstrings_and_the_form_of_the_text_change_nothing() -> None:
    digests = [found("segprune.seed", home={"seed.py": text}) for text in (LINE, SAME, "\n\n" + LINE + "\n")]
    assert digests[0] == digests[1] == digests[2]
    others = ("2", "3"), ("1", "'1'"), ("fit", "fi"), ("return", "yield"), ("VERSION = 2", "VERSION: int = 2")
    edits = [found("segprune.seed", home={"seed.py": LINE.replace(*edit)}) for edit in others]
    edits += [found("segprune.seed", home={"seed.py": LINE + more}) for more in ("\nprint('x')", "\n1")]
    assert all(edit != digests[0] for edit in edits)


@pytest.mark.parametrize(
    "pair",
    [
        "x = None | x = []", "f(a=None) | f(a=())", "x = '' | x = None", "x = 1 | x = True", "x = 1 | x = 1.0",
        "def f(a, /): 0 | def f(a): 0", "def f(*, a): 0 | def f(a): 0", "x[:1] | x[1:]", "x = 0.0 | x = -0.0",
        "f(a)(b) | f(a, b)", "x = b'a' | x = 'a'", "from a import b | from a import b as c", "x = ['a'] | x = 'a'",
        "if a:\n 0\nelse:\n 1 | if a:\n 0\n 1", "for a in b:\n 0 | for b in a:\n 0", "f'{a}' | f'{a!r}'",
        "@a\ndef f(): 0 | def f(): 0", "def f(): 0 | async def f(): 0", "x += 1 | x -= 1", "not a | -a",
    ],
)  # fmt: skip
def test_programs_that_differ_have_other_digests(pair: str) -> None:
    one, other = (found("segprune.seed", home={"seed.py": text}) for text in pair.split(" | "))
    assert one != other


def test_a_package_of_somebody_counts_as_a_whole_with_what_it_imports_of_segprune_and_of_others() -> None:
    before = found("usernet.net", usernet=MINE)
    assert set(before) == {"package usernet"}
    act = {**MINE, "blocks/act.py": "def f(x): return -x\n"}
    named = {("blocks/acts.py" if path == "blocks/act.py" else path): text for path, text in MINE.items()}
    moved = {path.replace("blocks/", "layers/"): text for path, text in MINE.items()}
    for other in (act, named, moved, {**MINE, "new.py": ""}):
        assert found("usernet.net", usernet=other) != before
    text = {**MINE, "blocks/act.py": "def f(x):\n    '''As it is.'''\n    return x  # so\n"}
    assert found("usernet.net", usernet=text) == before
    more = {**MINE, "net.py": "def f():\n    import segprune.training.loop\n    from beside import part"}
    both = found("usernet.net", usernet=more, beside={"part.py": "a = 1"})
    assert set(both) == {"package usernet", "package beside", "training", "seed.py", "schedule"}
    assert both != found("usernet.net", usernet=more, beside={"part.py": "a = 2"})


def test_a_file_that_is_no_python_of_this_version_counts_by_its_bytes() -> None:
    texts = [{**MINE, "old.py": text} for text in ("print 'a'", "print 'b'", "x = 1\0")]
    assert len({found("usernet", usernet=text)["package usernet"] for text in texts}) == 3


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The one folder that packages and libraries are imported from."""
    caches = (
        files_of,
        code._behind,
        libraries._distributions,
        libraries._requirements,
        libraries._is_in_place,
        libraries._holds,
        libraries._is_installed,
        libraries._version,
        libraries.is_of_python,
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for cache in caches:
        cache.cache_clear()
    yield tmp_path
    for cache in caches:
        cache.cache_clear()


def put(folder: Path, texts: Mapping[str, str]) -> None:
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def library(folder: Path, name: str, version: str, *requires: str, url: str = "") -> None:
    lines = [
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}",
        *(f"Requires-Dist: {one}" for one in requires),
    ]
    package = name.replace("-", "_")
    texts = {"METADATA": "\n".join(lines), "top_level.txt": package, "direct_url.json": url}
    put(folder / f"{package}-{version}.dist-info", {path: text for path, text in texts.items() if text})
    put(folder, {f"{package}/__init__.py": ""})


def test_files_are_read_once_and_are_code(folder: Path) -> None:
    put(
        folder / "usernet",
        {**MINE, "data.yaml": "a: 1", "page.j2": "", "kernel.cu": "int a;", "_fast.so": "0"},
    )
    put(folder / "usernet", {"__pycache__/act.py": "", ".hidden/act.py": ""})
    put(folder, {"alone.py": "a = 1", "spaced/part.py": ""})
    assert set(files_of("usernet")) == {*MINE, "kernel.cu", "_fast.so"}
    assert (set(files_of("alone")), set(files_of("spaced")), files_of("nowhere")) == (
        {"alone.py"},
        {"part.py"},
        {},
    )
    before = code_of(["usernet.net"])
    put(folder / "usernet", {"blocks/act.py": "edited = True"})
    assert code_of(["usernet.net"]) == before
    files_of.cache_clear()
    code._behind.cache_clear()
    assert code_of(["usernet.net"]) != before


def test_of_two_files_with_one_name_in_a_package_of_two_folders_the_first_counts(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tmp_path_factory.mktemp("second")
    monkeypatch.setattr(sys, "path", [str(folder), str(second)])
    put(folder / "spaced", {"part.py": "a = 1", "mine.py": ""})
    put(second / "spaced", {"part.py": "a = 2", "other.py": ""})
    found = files_of("spaced")
    assert (found["part.py"], set(found)) == (b"a = 1", {"part.py", "mine.py", "other.py"})


def test_a_package_of_somebody_may_have_the_name_of_one_that_comes_with_python(folder: Path) -> None:
    assert "wave" in sys.stdlib_module_names - set(sys.modules)
    put(folder / "usernet", {"net.py": "import wave, json"})
    assert set(code_of(["usernet.net"])["code"]) == {"package usernet"}
    libraries.is_of_python.cache_clear()
    code._behind.cache_clear()
    put(folder / "wave", {"__init__.py": "a = 1"})
    assert set(code_of(["usernet.net"])["code"]) == {"package usernet", "package wave"}
    assert set(code_of(["wave.form"])["code"]) == {"package wave"}


def test_folders_behind_links_count_and_links_that_lead_back_end(folder: Path) -> None:
    put(folder / "usernet", {"__init__.py": ""})
    put(folder / "shared", {"act.py": "a = 1"})
    (folder / "usernet" / "blocks").symlink_to(folder / "shared")
    (folder / "usernet" / "again").symlink_to(folder / "usernet")
    assert set(files_of("usernet")) == {"__init__.py", "blocks/act.py"}


def test_a_script_has_no_files_of_a_package() -> None:
    assert files_of("__main__") in ({}, {"__main__.py": files_of("__main__").get("__main__.py", b"")})
    assert files_of("sys") == {}


@pytest.mark.slow
def test_what_is_imported_by_its_name_or_for_annotations_counts_in_a_package_of_somebody() -> None:
    others = {"uhelp": {"act.py": "a = 1"}, "utypes": {"config.py": "b = 1"}}
    for line in (
        'import importlib\nimportlib.import_module("uhelp.act")',
        '__import__("uhelp")',
        "from utypes import config\nx: config.V = None",
    ):
        package = {"__init__.py": "", "net.py": line}
        before = found("usernet.net", usernet=package, **others)
        after = found(
            "usernet.net",
            usernet=package,
            uhelp={"act.py": "a = 2"},
            utypes={"config.py": "b = 2"},
        )
        assert before != after, line


def test_libraries_count_by_version_with_those_that_are_built_on_torch_or_numpy(folder: Path) -> None:
    needs = ("small_nets>=1", "words", "extra-nets; extra == 'more'", "numpy", "absent")
    library(folder, "big-nets", "1.0", *needs)
    library(folder, "numpy", "5.0")
    library(folder, "torch", "6.0", "numpy")
    library(folder, "small-nets", "2.0", "torch>=2 ; python_version > '3'")
    library(folder, "extra-nets", "3.0", "torch")
    library(folder, "words", "4.0")
    put(folder / "usernet", {"net.py": "def f():\n    import big_nets.unet\n    import missing"})
    libraries = code_of(["usernet.net"])["libraries"]
    assert (libraries["big-nets"], libraries["small-nets"]) == ("1.0", "2.0")
    assert set(libraries) == {"big-nets", "small-nets", "numpy", "torch"}


def test_a_version_of_a_library_makes_other_libraries(folder: Path) -> None:
    put(folder / "usernet", {"net.py": "import nets"})
    library(folder, "nets", "1.0")
    before = code_of(["usernet.net"])
    assert before["libraries"] == {"nets": "1.0"}
    (folder / "nets-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: nets\nVersion: 1.1")
    libraries._version.cache_clear()
    assert code_of(["usernet.net"]) == {**before, "libraries": {"nets": "1.1"}}


def test_a_package_installed_in_place_or_named_as_part_of_the_work_counts_by_its_files(
    folder: Path,
) -> None:
    put(folder / "usernet", {"net.py": "import nets"})
    library(folder, "nets", "1.0", url=json.dumps({"url": "file:///nets", "dir_info": {"editable": True}}))
    assert set(code_of(["usernet.net"])["code"]) == {"package usernet", "package nets"}
    library(folder, "fixed", "1.0", url=json.dumps({"url": "file:///nets", "dir_info": {}}))
    assert set(code_of(["fixed"])["code"]) == {"package fixed"}


@pytest.mark.parametrize("name", ["os.path", "json.decoder", "sys", "", ".net", "nowhere.net"])
def test_what_comes_with_python_or_is_nowhere_has_no_code(name: str) -> None:
    assert code_of([name]) == {"code": {}, "libraries": {}}


@dataclass(frozen=True)
class Outer:
    held: object
    text: str = "os.path"


def test_the_modules_of_a_part_are_those_of_its_class_the_bases_and_what_it_holds() -> None:
    schedule = tiny_schedule()
    both = {"segprune.schedule.schedule", "segprune.loss.ce", __name__}
    assert modules_of("segprune.seed") == {"segprune.seed"}
    assert modules_of(Outer(schedule)) == both
    assert modules_of(Outer([Outer(None), {"a": (schedule,)}])) == both
    assert modules_of(Outer(3)) == {__name__}
    assert modules_of(3) == set()
    base = dataclass(type("Base", (), {"__module__": "usernet.base"}))
    part = dataclass(type("Part", (base,), {"__module__": "usernet.part"}))
    assert modules_of(part()) == {"usernet.base", "usernet.part"}


@pytest.mark.slow
def test_libraries_that_check_draw_or_tell_do_not_count() -> None:
    home = {"work.py": b"import pandas\nimport numpy"}
    libraries_of_work = code_of(["segprune.work"], read=lambda _: home)["libraries"]
    assert "numpy" in libraries_of_work
    assert "pandas" not in libraries_of_work


def test_a_text_is_a_text_however_it_is_marked() -> None:
    plain, marked = (found("segprune.work", home={"work.py": f"x = {text}"}) for text in ("'a'", "u'a'"))
    assert plain == marked


def test_a_copy_of_a_library_that_is_found_before_it_counts_by_its_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder / "usernet", {"net.py": "import nets"})
    library(folder, "nets", "1.0")
    put(folder, {"fork/nets/__init__.py": "a = 1"})
    monkeypatch.setattr(sys, "path", [str(folder / "fork"), str(folder)])
    assert set(code_of(["usernet.net"])["code"]) == {"package usernet", "package nets"}


def test_a_package_in_an_archive_counts_by_the_archive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for number, text in enumerate(("a = 1", "a = 2")):
        archive = folder / f"{number}.zip"
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr(zipfile.ZipInfo("zipped/__init__.py"), text)
        monkeypatch.setattr(sys, "path", [str(archive)])
        files_of.cache_clear()
        code._behind.cache_clear()
        found.append(code_of(["zipped"])["code"]["package zipped"])
    assert found[0] != found[1]


def test_every_callable_that_a_node_names_is_found() -> None:
    deep = {"_target_": "h.i", "factory": "words"}
    node = {"_target_": "a.b.c", "factory": "d.e:f.g", "held": [{"deep": deep}]}
    assert list(callables_of(node)) == [("a.b", "c"), ("d.e", "f.g"), ("h", "i")]
    assert target_modules(node) == {"a.b", "d.e", "h"}
    assert target_modules({"factory": "a:b", "_target_": None}) == target_modules(None) == set()
