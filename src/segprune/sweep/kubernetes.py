"""``hydra/launcher=kubernetes``: writes the jobs of a sweep as one Indexed Job, for ``kubectl apply``.

Nothing is started here. A pod runs one job and says what it does in the job's status file, as everywhere. After a
preemption or a failure Kubernetes starts it again, and it continues from what is stored.
"""

import logging
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf
from pydantic import Field

from segprune import status
from segprune.sweep import plugin
from segprune.sweep.launcher import JobLauncher
from segprune.sweep.pool import OUTPUT, Task
from segprune.sweep.slurm import job_script, refuse_few_gpus, refuse_sqlite

log = logging.getLogger(__name__)
ROOM, MANIFEST = "kubernetes", "job.yaml"


@dataclass(frozen=True, kw_only=True)
class Kubernetes:
    """What each pod is given.

    Attributes:
        image: Container image with this repository's environment at the same path as here.
        claim: The PersistentVolumeClaim, writable from many nodes, that holds ``mount``.
        mount: Folder that all pods share, at the same path as here: the repository, data and outputs are below it.
        namespace: Of the Job; None: the one of ``kubectl``.
        gpus: GPUs of a pod.
        cpus: CPU cores of a pod; data loading takes some of them.
        mem: Memory of a pod in Kubernetes' own words, as ``32Gi``; None: no bound.
        jobs: So many at a time at most; None: all.
        restarts: How often a job that fails is started again; preempted ones do not count.
        notice_s: Seconds between the request to end and the kill.
    """

    image: str
    claim: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]
    mount: Path
    namespace: str | None
    gpus: Annotated[int, Field(ge=0)]
    cpus: Annotated[int, Field(ge=1)]
    mem: Annotated[str, Field(pattern=r"^\d+(Ki|Mi|Gi|Ti)?$")] | None
    jobs: Annotated[int, Field(ge=1)] | None
    restarts: Annotated[int, Field(ge=0)]
    notice_s: Annotated[int, Field(ge=0)]


class KubernetesLauncher(JobLauncher):
    """Writes the Job and says how to start it."""

    runs_by = Kubernetes

    def setup(self, *, config: DictConfig, **given: Any) -> None:
        """Check the settings.

        Raises:
            ConfigError: One is out of its range, a pod would have too few GPUs, or pods would share a file of
                SQLite.
        """
        super().setup(config=config, **given)
        refuse_sqlite(config)
        refuse_few_gpus(config, self._by.gpus, "Kubernetes gives a pod")

    def _grace_s(self) -> float | None:
        return None

    def _run(self, tasks: Mapping[int, Task]) -> None:
        from segprune.sweep.callback import leave

        room = Path(str(self._config.hydra.sweep.dir), ROOM).absolute()
        room.mkdir(parents=True, exist_ok=True)
        for index, task in enumerate(tasks.values()):
            task.folder.mkdir(parents=True, exist_ok=True)
            (task.folder / OUTPUT).touch()
            status.write(task.folder, {"asked": task.asked, "status": "starting"})
            (room / f"{index}.sh").write_text(job_script(task, self._by.cpus))
        OmegaConf.save(OmegaConf.create(manifest(room, self._by, len(tasks))), room / MANIFEST)
        leave()
        log.info(
            "%d jobs are written, none is started: kubectl apply -f %s; when they are over: segprune report %s",
            *(len(tasks), shlex.quote(str(room / MANIFEST)), shlex.quote(str(room.parent))),
        )


def manifest(room: Path, pods: Kubernetes, count: int) -> dict[str, Any]:
    """The Job, as plain values.

    Args:
        room: Folder with the script of each index.
        pods: What each is given.
        count: Of the jobs.
    """
    limits = {
        "cpu": pods.cpus,
        **({"memory": pods.mem} if pods.mem else {}),
        **({"nvidia.com/gpu": pods.gpus} if pods.gpus else {}),
    }
    container = {
        "name": "job",
        "image": pods.image,
        # bash hands its process over, so that the job itself is told to end
        "command": ["bash", "-c", f'exec bash {shlex.quote(str(room))}/"$JOB_COMPLETION_INDEX.sh"'],
        "resources": {"limits": limits},
        "volumeMounts": [
            {"name": "shared", "mountPath": str(pods.mount)},
            {"name": "memory", "mountPath": "/dev/shm"},
        ],
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": pods.notice_s,
        "containers": [container],
        "volumes": [
            {"name": "shared", "persistentVolumeClaim": {"claimName": pods.claim}},
            {"name": "memory", "emptyDir": {"medium": "Memory"}},  # loading processes share it
        ],
    }
    # a pod that was preempted, or whose node went, is started again without counting
    ignored = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": _name(room.parent.name),
            **({"namespace": pods.namespace} if pods.namespace else {}),
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": count,
            "parallelism": min(pods.jobs or count, count),
            "backoffLimitPerIndex": pods.restarts,
            "podFailurePolicy": {"rules": [ignored]},
            "template": {"spec": pod},
        },
    }


def _name(sweep: str) -> str:
    """What Kubernetes allows, with room for the number of a pod."""
    return f"segprune-{re.sub('[^a-z0-9]+', '-', sweep.lower()).strip('-')[:40]}"


def register() -> None:
    """Make the launcher known to Hydra."""
    plugin.register(KubernetesLauncher)
