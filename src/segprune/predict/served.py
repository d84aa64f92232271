"""An exported file as MLflow serves it: ``mlflow models serve`` asks this module for what predicts."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segprune.predict.predictor import Predictor, load


class Served:
    """What MLflow calls."""

    def __init__(self, net: Predictor) -> None:
        self.net = net

    def predict(self, model_input: NDArray[Any], params: object = None) -> NDArray[np.int64]:
        """Images (N, H, W, C), in whole numbers as the model's signature says -> class ids (N, H, W).

        Raises:
            DataError: The images have another layout.
        """
        del params
        found: NDArray[np.int64] = self.net.predict(np.asarray(model_input)).numpy()
        return found


def _load_pyfunc(path: str) -> Served:
    """What MLflow asks for.

    Args:
        path: The exported file.
    """
    return Served(load(Path(path)))
