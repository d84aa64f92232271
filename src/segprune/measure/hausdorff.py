"""How far borders of predicted areas lie from the labelled ones, in px; for medical images."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Mask = NDArray[np.bool_]
_PERCENT = 95


def hausdorff_sums(prediction: Tensor, label: Tensor, scored: Tensor, classes: int) -> Tensor:
    """The distances of one image, for a mean over all images and classes; see ``hd95``.

    Args:
        prediction: (h, w) int64, 0..K-1 where it is scored.
        label: Likewise.
        scored: (h, w) bool; a pixel that is not scored is of no class, neither here nor there.
        classes: K.

    Returns:
        (3,) float64: the sum of the distances in px; the number of classes that both hold, of which they are; the
        number of those that only one holds, which have no distance.
    """
    found, truth, counts = (one.cpu().numpy() for one in (prediction, label, scored))
    total, both, one_sided = 0.0, 0, 0
    for index in range(classes):
        mine, theirs = (found == index) & counts, (truth == index) & counts
        if mine.any() and theirs.any():
            total, both = total + hd95(mine, theirs), both + 1
        elif mine.any() or theirs.any():
            one_sided += 1
    return torch.tensor([total, both, one_sided], dtype=torch.float64)


def hd95(one: Mask, other: Mask) -> float:
    """The Hausdorff distance without its largest twentieth: of two (h, w) masks that are not empty, in px.

    For each border pixel of a mask the distance to the nearest border pixel of the other is taken, and of these
    the 95th percentile; the larger of both directions counts. A border pixel has a side neighbour outside of the
    mask, or lies at the frame of the image.

    Source: Comparing Images Using the Hausdorff Distance, IEEE TPAMI 15(9), 1993; the percentile and the larger
    direction as in MONAI.
    """
    rows, columns = (np.flatnonzero((one | other).any(axis)) for axis in (1, 0))
    place = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))  # outside there is nothing
    mine, theirs = _border(one[place]), _border(other[place])
    return max(_directed(mine, theirs), _directed(theirs, mine))


def _border(mask: Mask) -> Mask:
    from scipy.ndimage import binary_erosion

    border: Mask = mask & ~binary_erosion(mask)
    return border


def _directed(points: Mask, others: Mask) -> float:
    from scipy.ndimage import distance_transform_edt

    return float(np.percentile(distance_transform_edt(~others)[points], _PERCENT))
