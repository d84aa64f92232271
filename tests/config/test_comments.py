from pathlib import Path

import pytest

from segprune.config.comments import commented, comments_of
from tests.test_conf import CONF

ROOT = """# All of it.
defaults:
  - group: one
  - group@other: two
  - override hydra/x: y
a: 1 # how many
b:
  c: {x: 1, y: 2} # where
  d: null
list: [1, 2] # which
"""


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    (tmp_path / "group").mkdir()
    (tmp_path / "config.yaml").write_text(ROOT)
    (tmp_path / "group/one.yaml").write_text("# One.\nk: 1 # of one\nl: 2 # and this\n")
    (tmp_path / "group/two.yaml").write_text("# Two.\ndefaults: [one, _self_]\nk: 3 # of two\n")
    return tmp_path


def test_comments_are_those_of_the_chosen_options(conf: Path) -> None:
    found = comments_of(conf, [])
    assert found == {
        "a": "how many", "b.c": "where", "list": "which", "group.k": "of one", "group.l": "and this",
        "other.k": "of two", "other.l": "and this",
    }  # fmt: skip
    assert comments_of(conf, ["group=two", "a=3"])["group.k"] == "of two"
    assert "group.k" not in comments_of(conf, ["group=mine"])


def test_they_stand_behind_their_keys(conf: Path) -> None:
    text = "A header: with words\na: 7\nb:\n  c:\n    x: 1\n  d: null\ngroup:\n  k: 1\nlist:\n- 1\n"
    told = commented(text, comments_of(conf, []))
    assert told.splitlines()[1] == "a: 7  # how many"
    assert told.splitlines()[3] == "  c:  # where"
    assert told.splitlines()[7] == "  k: 1  # of one"
    assert [line.partition("  #")[0] for line in told.splitlines()] == text.splitlines()


def test_every_comment_of_a_key_in_our_files_is_found() -> None:
    found = comments_of(CONF, ["dataset=voc"])
    assert found["dataset.root"].startswith("dataset.root=/path/to/VOCdevkit")
    assert found["dataset.ignore_index"] == "label of unlabelled pixels, which neither train nor count"
    assert found["ratio"].startswith("fraction removed")
    lines = (CONF / "dataset/folder.yaml").read_text().splitlines()
    of_keys = [line for line in lines if "#" in line and not line.lstrip().startswith("#")]
    assert len([key for key in comments_of(CONF, ["dataset=folder"]) if key.startswith("dataset.")]) == len(
        of_keys
    )
