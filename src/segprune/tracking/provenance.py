"""Where a run comes from: user, host, process, and the state of the code."""

import getpass
import os
import socket
import subprocess
import sys
from pathlib import Path

GIT_SECONDS = 10.0


def provenance() -> dict[str, str]:
    """Tags for a run; without git, or outside a clone, those of git are left out."""
    tags = {
        "mlflow.source.name": Path(sys.argv[0]).name or "python",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
        "host": socket.gethostname(),
        "pid": str(os.getpid()),
    }
    commit = _git("rev-parse", "HEAD")
    if commit:
        tags["mlflow.source.git.commit"] = commit
        tags["mlflow.source.git.branch"] = _git("rev-parse", "--abbrev-ref", "HEAD") or "HEAD"
        tags["git.dirty"] = "true" if _git("status", "--porcelain", "--untracked-files=no") else "false"
    return tags


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user id has no name
        return str(os.getuid())


def _git(*arguments: str) -> str:
    """Output of git in the clone that holds this file; empty if there is none."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
