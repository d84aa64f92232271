import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pytest

from segprune.errors import TrackingError
from segprune.tracking.mlflow_run import MlflowRun


class Recorder:
    """A sender, and its journal, that remembers, and reads artifacts while they exist."""

    def __init__(self):
        self.journal = self
        self.records = []
        self.files = {}

    def keep(self, path):
        self.kept = path.read_bytes()
        return str(path)

    def put(self, records, *, can_wait=False):
        self.records += records
        for record in records:
            assert can_wait == (record.kind == "metrics")
            if record.kind == "artifact":
                name = record.content["path"].rsplit("/", 1)[-1]
                self.files[f"{record.content['folder']}|{name}"] = self.kept

    def finish(self, record):
        self.records.append(record)


@pytest.fixture
def sender():
    return Recorder()


@pytest.fixture
def run(sender):
    return MlflowRun(run_id="r1", url_hint="", sender=sender)


def test_metrics_without_a_step_belong_to_step_zero(run, sender):
    run.metrics({"a": 1.0})
    run.metrics({"a": 2.0}, step=3)
    points = [point for record in sender.records for point in record.content["points"]]
    assert [(name, value, step) for name, value, _, step in points] == [("a", 1.0, 0), ("a", 2.0, 3)]


def test_texts_and_figures_become_files_at_their_names(run, sender):
    figure = plt.figure()
    run.text("größe", "eval/metrics.json")
    run.text("top", "note.md")
    run.figure(figure, "eval/deep/c.png")
    run.figure(figure, "c.svg")
    plt.close(figure)
    assert sender.files["eval|metrics.json"].decode() == "größe"
    assert sender.files["|note.md"] == b"top"
    assert sender.files["eval/deep|c.png"].startswith(b"\x89PNG")
    assert b"<svg" in sender.files["|c.svg"]


def test_texts_lose_passwords_and_files_stay_as_they_are(run, sender, tmp_path):
    line = "uri: http://me:secret@host"
    (tmp_path / "x.yaml").write_text(line)
    run.text(line, "config.yaml")
    run.file(tmp_path / "x.yaml")
    run.dataset(name=line, digest="0", split="train", profile={"root": line})
    assert sender.files == {"|config.yaml": b"uri: http://***@host", "|x.yaml": line.encode()}
    assert "secret" not in str(sender.records[-1].content)


def test_files_keep_their_names(run, sender, tmp_path):
    (tmp_path / "x.bin").write_bytes(b"1")
    run.file(tmp_path / "x.bin", "checkpoints")
    assert sender.files == {"checkpoints|x.bin": b"1"}


def test_a_missing_file_is_told(run, tmp_path):
    with pytest.raises(TrackingError, match=r"no.bin is not a file that can be read, .*write it first"):
        run.file(tmp_path / "no.bin")


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x"])
def test_a_place_outside_the_run_is_refused(run, name, tmp_path):
    (tmp_path / "x").write_text("")
    for log in (
        lambda: run.text("", name),
        lambda: run.file(tmp_path / "x", name),
        lambda: run.figure(None, name),
    ):
        with pytest.raises(TrackingError, match=f"'{name}' is outside the run"):
            log()


def test_datasets_have_a_short_digest_and_spelled_facts(run, sender):
    run.dataset(
        name="streets", digest="0123456789abcdef", split="train", profile={"select": None, "classes": 11}
    )
    (record,) = sender.records
    assert record.content["digest"] == "01234567"
    assert record.content["profile"] == {"select": "null", "classes": "11"}


def test_a_note_is_the_description_in_the_ui_cut_to_what_the_store_takes(run, sender):
    run.note("**70.1** mIoU, uri http://me:secret@host")
    run.note("x" * 9000)
    first, second = sender.records
    assert first.kind == second.kind == "tags"
    assert first.content == {"mlflow.note.content": "**70.1** mIoU, uri http://***@host"}
    assert second.content == {"mlflow.note.content": "x" * 7997 + "..."}


def test_closing_twice_ends_once(run, sender):
    run.close("FAILED")
    run.close("FINISHED")
    assert [record.content["status"] for record in sender.records] == ["FAILED"]


def test_params_and_tags_with_bad_names_are_refused(run):
    with pytest.raises(TrackingError, match="'a%' cannot name"):
        run.params({"a%": 1})
    with pytest.raises(TrackingError, match="'a%' cannot name"):
        run.tags({"a%": "1"})
