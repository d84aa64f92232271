from pathlib import Path

from segprune import status
from segprune.sweep.slurm_lost import close_lost, note_names
from tests.sweep.test_slurm_queue import says  # noqa: F401 - a fixture


def test_a_job_that_slurm_has_no_more_gets_its_end_and_others_keep_theirs(tmp_path: Path, says: Path) -> None:  # noqa: F811
    sweep = tmp_path / "sweep"
    folders = [sweep / str(number) for number in range(5)]
    (sweep / "slurm").mkdir(parents=True)
    for folder, how in zip(folders, ("running", "starting", "running", "done", "running"), strict=True):
        folder.mkdir()
        status.write(folder, {"status": how, "host": "node7"})
    note_names(sweep, {folder: f"7_{folder.name}" for folder in folders[:4]})
    (says / "squeue.says").write_text("7_2\n")
    (says / "scontrol.says").write_text("JobId=7 JobState=NODE_FAIL ExitCode=0:0")
    assert close_lost(folders) == folders[:2]
    ends = [status.read(folder)["status"] for folder in folders]
    assert ends == ["killed", "killed", "running", "done", "running"]  # the last one is nobody's
    assert status.read(folders[1])["error"] == (
        "its SLURM job 7_1 ended as NODE_FAIL without a word: its node failed; "
        "the same command continues from here"
    )
