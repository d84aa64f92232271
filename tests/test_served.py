"""An exported folder is a model of MLflow."""

import warnings
from pathlib import Path

import numpy as np
import pytest

import segprune
from tests.stage.test_export import cut, stage
from tests.tiny import tiny_context


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
