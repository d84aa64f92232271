"""The control that asks whether the teacher helps or the softened targets do."""

from dataclasses import dataclass
from typing import ClassVar

from segprune.distill.kd import KD


@dataclass(frozen=True, kw_only=True)
class Itself(KD):
    """``kd`` whose teacher is the network itself, as it was before this training.

    With ``protocol=dense`` the dense network is taught by itself. A cut network is taught by the cut network before
    its finetuning, which knows less than the dense one.

    Source: Born-Again Neural Networks, arXiv:1805.04770. Differs: there the student begins with new weights, here
        with those of its teacher; and there is one generation.
    """

    by_itself: ClassVar[bool] = True
