import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segprune.model.contract import SegmentationNet
from tests.graph.test_proof import Blocks, Shuffled
from tests.networks.bare import bare
from tests.toys import CLASSES, Concat, Plain


class Joined(Plain):
    """A norm behind a concatenation, which is cut once for each of the two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.bare = nn.BatchNorm2d(11), nn.Conv2d(11, 6, 1)
        self.head = nn.Conv2d(6, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(self.normalise(image)))
        x = F.relu(self.norm(torch.cat([x, F.relu(self.second(x))], dim=1)))
        return self.head(F.relu(self.bare(x)))


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        (Plain, "exact"),
        (Joined, "exact"),
        (Concat, "exact"),
        (Shuffled, "wrong ("),
        (Blocks, "raises RuntimeError: "),
    ],
)
def test_what_torch_pruning_alone_makes_of_a_cut(kind: type[SegmentationNet], answer: str) -> None:
    assert bare(kind, (16, 16), CLASSES).startswith(answer)
