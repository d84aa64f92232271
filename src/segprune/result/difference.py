"""Where one network is right and another is wrong, as a picture."""

import numpy as np
import numpy.typing as npt
from torch import Tensor

COLOURS = {
    "as before": (225, 225, 225),
    "lost": (200, 30, 30),
    "gained": (30, 130, 220),
    "another mistake": (240, 180, 40),
}
"""What became of a pixel: the same class is predicted, right turned wrong, the reverse, or another wrong one."""
VOID = (0, 0, 0)


def difference(label: Tensor, before: Tensor, after: Tensor, ignore_index: int) -> npt.NDArray[np.uint8]:
    """(h, w) label, (h', w') predictions of two networks -> (h, w, 3) colours, unlabelled pixels black."""
    truth = label.cpu().numpy()
    first, last = (_resized(prediction, truth.shape) for prediction in (before, after))
    became = np.full(truth.shape, 3)
    became[last == truth] = 2
    became[first == truth] = 1
    became[first == last] = 0
    became[truth == ignore_index] = 4
    picture: npt.NDArray[np.uint8] = np.array([*COLOURS.values(), VOID], dtype=np.uint8)[became]
    return picture


def _resized(prediction: Tensor, size_hw: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """The nearest prediction for every pixel of the label."""
    values = prediction.cpu().numpy()
    lines, columns = (np.arange(new) * old // new for new, old in zip(size_hw, values.shape, strict=True))
    nearest: npt.NDArray[np.int64] = values[np.ix_(lines, columns)]
    return nearest
