import torch

from segprune.training.rank import ALONE, Rank
from tests.tiny import Items


def test_the_parts_of_a_batch_are_the_batch_and_the_shares_of_items_are_the_items() -> None:
    ranks = [Rank(rank, 3) for rank in range(3)]
    batch = list(range(6))
    assert [batch[rank.part(6)] for rank in ranks] == [[0, 1], [2, 3], [4, 5]]
    items = Items(5, seed=0)
    shares = [rank.share(items) for rank in ranks]
    assert [len(share) for share in shares] == [2, 2, 1]
    assert torch.equal(shares[1][1].image, items[4].image)


def test_a_process_that_is_alone_keeps_what_it_has() -> None:
    values, items = torch.ones(2), Items(5, seed=0)
    assert ALONE.gathered(values) is values
    assert ALONE.summed(values, torch.device("cpu")) is values
    assert ALONE.share(items) is items
    assert list(range(4))[ALONE.part(4)] == [0, 1, 2, 3]
    assert ALONE.name == ()
