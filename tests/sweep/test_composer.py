from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from segprune.sweep.composer import Composer
from tests.test_conf import composed

pytestmark = pytest.mark.usefixtures("composer")


class Counting:
    """Hydra's loader; counts how often it reads all files."""

    def __init__(self) -> None:
        self.loader, self.composed = GlobalHydra.instance().config_loader(), 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.loader, name)

    def load_sweep_config(self, config: DictConfig, overrides: list[str]) -> DictConfig:
        self.composed += 1
        return self.loader.load_sweep_config(config, overrides)


def plain(config: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(config, resolve=False)


# overrides of the jobs of a sweep, and how often their files are read
JOBS = {
    "values": (
        ["ratio=0.2 seed=0 device=cpu", "ratio=0.5 seed=17 device='cuda:1'", "ratio=0.5 seed=1 device=null"],
        1,
    ),
    "interpolations": (
        ["train.lr=0.1 ratio=0.2 ratio=0.3", "train.lr=${finetune.lr} ratio=0.4 ratio=0.1"],
        1,
    ),
    "groups": (["pruner=l1 ratio=0.2", "pruner=fpgm ratio=0.2", "pruner=l1 ratio=0.3"], 2),
    "order": (
        ["dataset.counts.fit=5 dataset.counts={fit:9}", "dataset.counts.fit=6 dataset.counts={fit:9}"],
        2,
    ),
    "lists, additions, other keys": (
        ["store.accept=[train]", "store.accept=[]", "+dataset.more=1", "seed=2"],
        4,
    ),
    "of Hydra": (["hydra.job.num=1 seed=1", "hydra.job.num=2 seed=2"], 2),
}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_is_what_hydra_composes(name: str) -> None:
    jobs, times = JOBS[name]
    config, loader = composed(), Counting()
    compose = Composer(config, loader)
    found = []
    for job in jobs:
        made = compose(job.split(" "))
        found.append(plain(made.whole))
        assert {**plain(made.own), "hydra": found[-1]["hydra"]} == found[-1]
        HydraConfig.instance().set_config(made.whole)  # whose node nobody can change then
    assert loader.composed == times
    assert found == [plain(loader.load_sweep_config(config, job.split(" "))) for job in jobs]


def test_a_value_of_hydra_s_node_that_is_set_for_one_job_can_be_set_for_the_next() -> None:
    compose = Composer(composed(), Counting())
    for seed in (1, 2, 3):
        job = compose([f"seed={seed}"])
        with open_dict(job.whole):
            job.whole.hydra.job.num = seed
        HydraConfig.instance().set_config(job.whole)
        assert (job.own.seed, job.whole.seed, HydraConfig.get().job.num) == (seed, seed, seed)


def test_a_key_that_is_none_is_refused_as_by_hydra() -> None:
    compose, loader = Composer(composed(), Counting()), Counting()
    with pytest.raises(Exception, match="Could not override 'sed'") as ours:
        compose(["sed=1"])
    with pytest.raises(type(ours.value)):
        loader.load_sweep_config(composed(), ["sed=1"])
