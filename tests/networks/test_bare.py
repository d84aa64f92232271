import pytest

from segprune.model.contract import SegmentationNet
from tests.graph.test_proof import Blocks, Shuffled
from tests.networks.bare import bare
from tests.toys import CLASSES, Plain


@pytest.mark.parametrize(
    ("kind", "answer"), [(Plain, "exact"), (Shuffled, "wrong ("), (Blocks, "raises RuntimeError: ")]
)
def test_what_torch_pruning_alone_makes_of_a_cut(kind: type[SegmentationNet], answer: str) -> None:
    assert bare(kind, (16, 16), CLASSES).startswith(answer)
