"""An exported file as a predictor of logits, with what it says of itself."""

from pathlib import Path

from segprune.deploy.about import About, about
from segprune.deploy.form import Planes
from segprune.deploy.runtime import Runtime, open_runner
from segprune.model.contract import Predicts


def open_file(path: Path, runtime: Runtime = "onnxruntime", *, threads: int = 1) -> tuple[Predicts, About]:
    """The predictor, and what it takes and gives; nothing in the file is executed but its arithmetic.

    A file that gives class ids predicts 1 for the class and 0 for all others.

    Args:
        path: The file.
        runtime: What computes.
        threads: CPU threads of one forward pass.

    Raises:
        ConfigError: The runtime is not installed.
        CheckpointError: There is no such file, the runtime cannot read it, or it does not say how to use it.
    """
    run = open_runner(path, runtime, threads=threads)
    said = about(run.metadata, path)
    return (run if said.output == "logits" else Planes(run, len(said.classes))), said
