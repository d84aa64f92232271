import getpass
import subprocess
import sys

from segprune.tracking import provenance
from segprune.tracking.provenance import provenance as tags_of


def test_a_run_says_who_where_and_what(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/run.py", "ratio=0.3"])
    tags = tags_of()
    assert tags["mlflow.source.name"] == "run.py"
    assert all(tags[name] for name in ("host", "pid", "mlflow.user"))
    assert all(isinstance(value, str) for value in tags.values())


def test_the_state_of_the_clone_is_told(monkeypatch, tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True)

    git("init", "-b", "trunk")
    (tmp_path / "file.py").write_text("1")
    git("add", ".")
    git("commit", "-m", "x")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "file.py"))
    head = subprocess.check_output(["git", "-C", tmp_path, "rev-parse", "HEAD"], text=True).strip()
    clean = tags_of()
    (tmp_path / "file.py").write_text("2")
    dirty = tags_of()
    assert clean["mlflow.source.git.commit"] == head
    assert clean["mlflow.source.git.branch"] == "trunk"
    assert (clean["git.dirty"], dirty["git.dirty"]) == ("false", "true")


def test_outside_a_clone_git_is_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "file.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert not [name for name in tags_of() if "git" in name]


def test_without_git_it_is_left_out(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert not [name for name in tags_of() if "git" in name]


def test_a_user_without_a_name_is_told_by_number(monkeypatch):
    def nameless():
        raise OSError("no such user")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert tags_of()["mlflow.user"].isdigit()
