import torch

from segprune.seed import derive, seeded


def test_purposes_do_not_share_a_seed() -> None:
    paths = [(), ("epoch",), ("epoch", 0), ("epoch", 1), ("epoch", 11), ("pruner",)]
    assert len({derive(seed, *path) for seed in range(20) for path in paths}) == 20 * len(paths)
    assert derive(3, "epoch", 2) == derive(3, "epoch", 2)


def test_the_global_generator_is_only_borrowed() -> None:
    before = torch.get_rng_state()
    with seeded(0, "a"):
        first = torch.rand(3)
    with seeded(0, "a"):
        again = torch.rand(3)
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)
