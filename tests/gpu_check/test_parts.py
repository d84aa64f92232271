from pathlib import Path

import torch

from segprune.gpu_check.parts import batches_of, data_of, network
from tests.gpu_check.benches import small


def test_every_rule_has_the_same_data_and_the_same_network(tmp_path: Path) -> None:
    bench = small(tmp_path)
    first, second = (data_of(bench) for _ in "ab")
    assert torch.equal(first.fit[0].image, second.fit[0].image)
    assert [len(batch.image) for batch in batches_of(first, bench.device)] == [4, 4]
    for one, other in zip(network(bench, 11).parameters(), network(bench, 11).parameters(), strict=True):
        assert torch.equal(one, other)
