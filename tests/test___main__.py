"""The one command: what it offers, and that each word leads where it says."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segprune import __main__ as door
from tests.test_cli import ROOT

HEAVY = ["torch", "torchvision", "mlflow", "albumentations", "pandas", "matplotlib", "hydra", "numpy"]


def segprune(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "segprune", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "SEGPRUNE_OUTPUTS": "", "PYTHONPATH": str(ROOT / "src")},
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("typed", "flags", "overrides"),
    [
        (["candidate=a=b", "baseline=c"], [], ["checkpoint=a=b", "baseline=c"]),
        (["eval.candidate=1"], [], ["eval.candidate=1"]),
        (["dataset.report_split=val"], [], ["dataset.report_split=val"]),
        (["dataset.report_split=[val,test]"], ["-m"], ["dataset.report_split=val,test"]),
    ],
)
def test_an_evaluation_has_a_candidate_and_one_split_or_several(
    typed: list[str], flags: list[str], overrides: list[str]
) -> None:
    assert door.evaluation(typed) == (flags, ["stages=[eval]"], overrides)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_it_says_what_there_is_with_one_line_per_command(arguments: list[str]) -> None:
    done = segprune(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    words = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert words == list(door.COMMANDS)


def test_it_answers_at_once() -> None:
    look = f"print([name for name in {HEAVY!r} if name in sys.modules])"
    code = f"import sys; from segprune import __main__ as door; sys.argv = ['segprune']; door.main(); {look}"
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    assert time.perf_counter() - began < 3  # 0.2 s on an idle core


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("sweeep", "'sweeep' is no command; there are run, sweep, eval, plan, report"),
        ("sweeep", "Did you mean segprune sweep?"),
        ("xyz", "'xyz' is no command; there are run, sweep"),
        ("pruner=taylor", "is an override, which needs a command before it: segprune run pruner=taylor"),
        ("-m", "'-m' is no command"),
    ],
)
def test_an_unknown_word_is_told_with_the_nearest(
    word: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door.dispatched([word, "ratio=0.3"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("segprune: ")
    assert said in error


@pytest.mark.parametrize(
    ("word", "typed"),
    [("run", ["ratio=0.2"]), ("sweep", ["-m", "ratio=0.2"]), ("plan", ["-m", "ratio=0.2", "hydra/launcher=plan"])],
)  # fmt: skip
def test_run_sweep_and_plan_become_run_py(
    word: str, typed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(os, "execv", lambda *started: became.append(started))
    door.dispatched([word, "ratio=0.2"])
    assert became == [(sys.executable, [sys.executable, str(ROOT / "run.py"), *typed])]


def test_a_run_elsewhere_has_the_configuration_of_the_clone_and_says_so(tmp_path: Path) -> None:
    here, elsewhere = segprune("run", "--cfg", "job"), segprune("run", "--cfg", "job", cwd=tmp_path)
    assert elsewhere.stdout == here.stdout
    assert here.stderr == ""
    assert (
        elsewhere.stderr
        == f"segprune: the configuration is that of {ROOT}; relative paths begin in {tmp_path}\n"
    )


def test_a_mistake_in_a_run_has_its_exit_code() -> None:
    done = segprune("run", "pruner=tailor")
    assert done.returncode == 1
    assert "Did you mean pruner=taylor?" in done.stderr


def test_without_a_clone_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(door, "CHECKOUT", tmp_path)
    assert door.dispatched(["run"]) == 1
    assert f"there is no {tmp_path}/run.py: runs need run.py and conf/" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        (
            "eval",
            [
                "trains and cuts nothing",
                "baseline    what it is compared with",
                "segprune eval candidate=last",
            ],
        ),
        ("plan", ["what the store has", "segprune plan pruner=taylor,fpgm ratio=0.2,0.3"]),
    ],
)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_what_becomes_run_py_with_a_task_of_its_own_says_what_that_is(
    word: str,
    parts: list[str],
    flag: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("it became run.py"))
    assert door.dispatched([word, "pruner=l1", flag]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"segprune {word} ")
    assert [part for part in parts if part not in said] == []


def test_the_doctor_is_offered_with_a_data_set_that_has_a_root() -> None:
    assert "segprune doctor dataset=folder dataset.root=" in door.overview()


@pytest.mark.parametrize("word", ["report", "store", "ui", "reproduce", "replay"])
def test_every_other_word_shows_its_own_help(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        door.dispatched([word, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: segprune {word} ")
