"""An exported folder is a model of MLflow."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
import warnings
from pathlib import Path

import numpy as np
import pytest

import segprune
from tests.stage.test_export import cut, stage
from tests.tiny import tiny_context
from tests.tracking.conftest import free_port


@pytest.mark.slow
def test_mlflow_serves_it_on_loopback(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    folder = stage()(ctx, cut(ctx))[2].folder
    images = np.random.default_rng(0).integers(0, 256, (2, 20, 24, 3), dtype=np.uint8)
    url, log = f"http://127.0.0.1:{free_port()}", tmp_path / "log"
    place = [
        "-m",
        str(folder),
        "--env-manager",
        "local",
        "--host",
        "127.0.0.1",
        "--port",
        url.rpartition(":")[2],
    ]
    command = [sys.executable, "-m", "mlflow", "models", "serve", *place, "--workers", "1"]
    paths = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    environment = {**os.environ, **paths, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with log.open("wb") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=output, process_group=0)
    try:
        answer = asked(url, {"inputs": images.tolist()}, server)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    assert np.array_equal(answer["predictions"], segprune.load(folder).predict(images).numpy()), (
        log.read_text()
    )


def asked(url: str, question: dict[str, object], server: subprocess.Popen[bytes]) -> dict[str, object]:
    """The answer of a server that is still starting."""
    end = time.monotonic() + 240
    while True:
        try:
            urllib.request.urlopen(f"{url}/ping", timeout=5).close()
            break
        except OSError:
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < end, "the server does not answer"
            time.sleep(0.2)
    body = json.dumps(question).encode()
    request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


@pytest.mark.slow
def test_mlflow_loads_it_and_gets_masks(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own import warns of its own type hints
        import mlflow.pyfunc

    ctx = tiny_context(tmp_path)
    folder = stage()(ctx, cut(ctx))[2].folder
    images = np.random.default_rng(0).integers(0, 256, (2, 20, 24, 3), dtype=np.uint8)
    model = mlflow.pyfunc.load_model(str(folder))
    assert np.array_equal(model.predict(images), segprune.load(folder).predict(images).numpy())
