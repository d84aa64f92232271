import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from segprune.sweep.kubernetes import Kubernetes, manifest
from tests import mini_app
from tests.mini_app import run, status

PODS: dict[str, Any] = {
    **{
        "image": "an/image:1",
        "claim": "shared",
        "mount": Path("/shared"),
        "namespace": None,
        "gpus": 2,
        "cpus": 8,
    },
    **{"mem": "32Gi", "jobs": 4, "restarts": 3, "notice_s": 60},
}


def test_the_job_has_an_index_for_each_job_and_its_pods_what_they_need() -> None:
    job = manifest(Path("/shared/sweeps/A_1/kubernetes"), Kubernetes(**PODS), 6)
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert (job["kind"], job["metadata"]) == ("Job", {"name": "segprune-a-1"})
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 6, 4)
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"cpu": 8, "memory": "32Gi", "nvidia.com/gpu": 2}
    assert pod["terminationGracePeriodSeconds"] == 60
    plain = Kubernetes(**PODS | {"gpus": 0, "mem": None, "jobs": None, "namespace": "lab"})
    job = manifest(Path("/shared/sweeps/1/kubernetes"), plain, 6)
    assert job["metadata"]["namespace"] == "lab"
    assert job["spec"]["parallelism"] == 6
    assert job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] == {"cpu": 8}


@pytest.mark.slow
def test_what_a_pod_is_to_run_is_the_job(tmp_path: Path) -> None:
    mini_app.make(tmp_path)
    given = ["hydra.launcher.image=i", "hydra.launcher.claim=c", f"hydra.launcher.mount={tmp_path}"]
    code, out, err = run(tmp_path, "act=failed,done", "hydra/launcher=kubernetes", *given)
    assert code == 0, out + err
    path = tmp_path / "sweep" / "kubernetes" / "job.yaml"
    assert f"2 jobs are written, none is started: kubectl apply -f {path}; when" in out
    assert [status(tmp_path, number)["status"] for number in (0, 1)] == ["starting", "starting"]
    (container,) = OmegaConf.to_container(OmegaConf.load(path))["spec"]["template"]["spec"]["containers"]
    environment = {**os.environ, "JOB_COMPLETION_INDEX": "1", "PYTHONPATH": str(mini_app.ROOT / "src")}
    subprocess.run(
        container["command"],
        env=environment,
        check=True,
    )
    assert status(tmp_path, 1)["status"] == "done"
    assert status(tmp_path, 0)["status"] == "starting"
