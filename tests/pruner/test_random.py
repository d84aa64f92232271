import torch

from segprune.graph.group import ChannelGroup
from segprune.pruner.contract import Calibration
from segprune.pruner.random import Random
from tests.pruner.battery import PrunerBattery
from tests.pruner.surgery import network_of
from tests.toys import toy_loss


def draw(seed: int, *names: str, size: int = 8) -> dict[str, list[float]]:
    calibration = Calibration(batches=[], loss=toy_loss, device=torch.device("cpu"), seed=seed)
    groups = [ChannelGroup(name=name, size=size, members=()) for name in names]
    return {name: score.tolist() for name, score in Random()(network_of(), groups, calibration).items()}


class TestRandom(PrunerBattery):
    paper_scope = "local"
    reads_network = False
    dead_goes_first = False
    duplicates = "no law"

    @staticmethod
    def build() -> Random:
        return Random()


def test_seeds_and_groups_have_streams_of_their_own():
    streams = [draw(seed, name)[name] for seed in (0, 1) for name in ("a", "b")]
    for first in range(4):
        for second in range(first):
            assert not set(streams[first]) & set(streams[second])


def test_the_order_of_the_groups_does_not_matter():
    assert draw(3, "a", "b") == draw(3, "b", "a")


def test_numbers_are_uniform_in_the_unit_interval():
    # n = 20000: mean 1/2 with deviation sqrt(1 / 12n) = 0.002, variance 1/12 with sqrt(1 / 180n) = 0.0005
    numbers = torch.tensor(draw(0, "a", size=20_000)["a"])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.01
    assert abs(numbers.var() - 1 / 12) < 0.003
