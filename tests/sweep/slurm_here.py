"""A SLURM whose only node is this machine, said to have four cores and two GPUs."""

import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

CONFIGURATION = """
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
SlurmctldPort={port}
SlurmdPort={next_port}
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=1,sched_interval=1
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=5
MinJobAge=3600
JobRequeue=1
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=4000 Gres=gpu:2
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE
"""
PROGRAMS = ("slurmctld", "slurmd", "sbatch")
START_SECONDS = 30.0


@contextmanager
def running(place: Path) -> Iterator[None]:
    """Start it in a folder, point its commands to it by ``SLURM_CONF``, and end it with all its jobs.

    Where it cannot be started, the test that asks is skipped and says why.
    """
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)} here (Debian: apt-get install slurmctld slurmd slurm-client)")
    if os.getuid() != 0:
        pytest.skip("it takes root to start a SLURM")
    from tests.tracking.conftest import free_port

    port, host = free_port(), platform.node()
    for name in ("state", "spool"):
        (place / name).mkdir()
    try:
        for number in (0, 1):
            os.mknod(place / f"gpu{number}", 0o20666, os.makedev(1, 3))
    except OSError as error:
        pytest.skip(f"no pretended GPU can be made here: {error}")
    text = CONFIGURATION.format(host=host, place=place, port=port, next_port=free_port())
    (place / "slurm.conf").write_text(text)
    (place / "gres.conf").write_text(f"NodeName={host} Name=gpu File={place}/gpu[0-1]\n")
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(place / "slurm.conf")
    try:
        for program in ("slurmctld", "slurmd"):
            subprocess.run([program, "-f", str(place / "slurm.conf")], check=False, capture_output=True)
            time.sleep(1)
        _wait_for_the_node(place)
        yield
    finally:
        subprocess.run(["scancel", "--user=root"], check=False, capture_output=True)
        for program in ("slurmd", "slurmctld"):
            with suppress(OSError, ValueError):
                os.kill(int((place / f"{program}.pid").read_text()), signal.SIGTERM)
        os.environ.pop("SLURM_CONF") if before is None else os.environ.update(SLURM_CONF=before)


def _wait_for_the_node(place: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        asked = ["sinfo", "--noheader", "--format=%T"]
        found = subprocess.run(asked, check=False, capture_output=True, text=True)
        if found.stdout.strip() in ("idle", "mixed", "allocated"):
            return
        time.sleep(0.3)
    log = place / "slurmctld.log"
    pytest.skip(
        f"no SLURM can be started here: {log.read_text()[-300:] if log.exists() else 'it said nothing'}"
    )
