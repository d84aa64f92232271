"""The network of the README, taken from the page, with weights trained elsewhere, and run as it says."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import torch

from tests.run.test_own_stage import LITTLE, SHORT, rows
from tests.run_here import ROOT, refused, run_here
from tests.tables import give_tables

PAGE = (
    (ROOT / "README.md")
    .read_text(encoding="utf-8")
    .split("\n## A network of your own\n")[1]
    .split("\n## ")[0]
)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The page's file in an empty folder, weights of its network, and what its command says behind run.py."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    line, _ = re.findall(
        r"^python run\.py (.*)$", PAGE, re.MULTILINE
    )  # the other one is of a library's network
    (tmp_path / "mynets").mkdir()
    (tmp_path / "mynets" / "__init__.py").touch()
    (tmp_path / "mynets" / "nets.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "mynets"]:
        monkeypatch.delitem(sys.modules, name)
    made: dict[str, object] = {}
    exec(code, made)
    net = made["build"](11, width=30)  # type: ignore[operator]
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in net.state_dict().items()}}, "best.pth"
    )
    return [*shlex.split(line), *LITTLE, *SHORT]


@pytest.mark.slow
def test_the_network_of_the_page_is_cut_with_the_weights_that_it_has(
    tmp_path: Path, command: list[str]
) -> None:
    give_tables(tmp_path / "out")
    ended = run_here(tmp_path / "out", *command)
    found = rows(ended, tmp_path / "out")
    assert list(found) == ["start", "pruned_raw", "pruned"]
    assert found["start"]["model"] == "module-mynets.nets:build"
    assert found["pruned"]["params"] < found["start"]["params"]
    assert "model.checkpoint: 4 tensors of best.pth, under 'state_dict', without 'module.'" in ended.out


@pytest.mark.slow
def test_what_does_not_fit_is_one_sentence_before_any_work(tmp_path: Path, command: list[str]) -> None:
    give_tables(tmp_path / "out")
    message = refused(tmp_path / "out", *command, "model.args={width: 8}")
    assert "which does not fit the network: has in another shape 3: 0.weight, 0.bias, 2.weight." in message
