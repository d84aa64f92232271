from dataclasses import replace
from pathlib import Path

import pytest
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import OmegaConf

from segprune.config.protocol import CHAIN
from segprune.errors import ConfigError
from segprune.sweep.controls import Asked, ControlSweeper, _tell, jobs_of, with_controls
from tests.test_conf import composed

pytestmark = pytest.mark.usefixtures("composer")


USUAL = Asked(has_ratio=True, stages=CHAIN, has_weights=False)


def added(job: str, protocol: str, asked: Asked = USUAL) -> list[str]:
    """The controls of one job, each as a line."""
    first, *others = with_controls([job.split()], protocol, asked_of=lambda _: asked)
    assert set(first) == {*job.split(), "protocol=standard"} - {f"protocol={protocol}"}
    return [" ".join(control) for control in others]


def test_a_fair_sweep_has_chance_the_norm_the_dense_network_and_half_of_it() -> None:
    assert added(
        "protocol=fair seed=1 pruner=taylor pruner.of=gate budget=macs ratio=0.3 finetune.epochs=2", "fair"
    ) == [
        "seed=1 budget=macs ratio=0.3 finetune.epochs=2 protocol=standard pruner=random",
        "seed=1 budget=macs ratio=0.3 finetune.epochs=2 protocol=standard pruner=l1",
        "seed=1 finetune.epochs=2 protocol=dense",
        "seed=1 protocol=half",
    ]


def test_jobs_are_the_combinations_of_all_values_and_a_later_override_counts() -> None:
    loader = GlobalHydra.instance().config_loader()
    config = composed()
    OmegaConf.set_readonly(config.hydra, False)
    typed = ["pruner=l1,l2", "~experiment", "seed=range(0,2)", "ratio=0.1", "pruner=fpgm,l1"]
    config.hydra.overrides.task = typed
    config.hydra.sweeper.params = {"ratio": "0.2,0.3", "budget": "macs"}
    rest = ["budget=macs", "~experiment=null"]
    assert [sorted(job) for job in jobs_of(config, loader)] == [
        sorted([f"pruner={pruner}", f"seed={seed}", "ratio=0.1", *rest])
        for pruner in ("fpgm", "l1")
        for seed in (0, 1)
    ]
    config.hydra.overrides.task = ["ratio=interval(0.1,0.5)"]
    with pytest.raises(
        ConfigError, match=r"ratio=interval\(0\.1,0\.5\) names no single values to sweep over\. Give"
    ):
        jobs_of(config, loader)


def test_a_full_sweep_also_trains_the_cut_networks_from_the_start() -> None:
    kept = "pruner=taylor ratio=0.3 train.epochs=5"
    found = added(f"{kept} init=inherited finetune=long +train@finetune=short finetune@between=short", "full")
    assert found[-2:] == [
        f"{kept} finetune@between=short protocol=scratch_e",
        f"{kept} finetune@between=short protocol=scratch_b",
    ]
    assert not [control for control in added("pruner=l1 ratio=0.3", "full") if "scratch" in control]


def test_uniform_l1_is_uniform_also_where_the_others_are_ranked_globally() -> None:
    chance, norm, *_ = added("pruner=taylor budget.scope=global ratio=0.3", "fair")
    assert chance == "budget.scope=global ratio=0.3 protocol=standard pruner=random"
    assert norm == "ratio=0.3 protocol=standard pruner=l1 budget.scope=local"


def test_where_no_ratio_is_asked_for_there_is_no_chance_to_compare_with() -> None:
    asked = replace(USUAL, has_ratio=False)
    assert added("pruner=slimming ratio=null", "fair", asked) == ["protocol=dense", "protocol=half"]


@pytest.mark.parametrize(
    ("stages", "has_weights", "expected", "reason"),
    [
        (CHAIN[1:], False, "random l1 dense half scratch_e scratch_b", ""),
        (CHAIN[1:], True, "random l1 dense", "begin with the trained weights of model.checkpoint"),
        (
            CHAIN,
            True,
            "random l1 dense half scratch_e scratch_b",
            "",
        ),  # the dense network began with them too
        (
            ("prune", "eval"),
            False,
            "random l1",
            "half is left out where stages is [prune,eval]: it needs finetune",
        ),
        (
            ("eval",),
            False,
            "",
            "protocol=dense is left out where stages is [eval]: it needs finetune in stages.",
        ),
    ],
)
def test_a_control_that_would_not_be_what_it_is_called_is_left_out_and_that_is_said(
    stages: tuple[str, ...],
    has_weights: bool,
    expected: str,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _tell.cache_clear()
    found = added("pruner=taylor", "full", Asked(has_ratio=True, stages=stages, has_weights=has_weights))
    assert " ".join(control.rpartition("=")[2] for control in found) == expected
    assert reason in caplog.text
    assert bool(caplog.text) == bool(reason)


def test_what_controls_depend_on_is_read_from_the_configuration_of_the_job() -> None:
    config = composed("protocol=fair")
    OmegaConf.set_readonly(config.hydra, False)
    chains = ("stages=[prune,eval]", "stages=[prune,finetune,eval]")
    config.hydra.overrides.task = [
        "protocol=fair",
        "pruner=taylor",
        f"{chains[0]},{chains[1].partition('=')[2]}",
        "checkpoint=x",
    ]
    jobs = jobs_of(config, GlobalHydra.instance().config_loader())
    controls = {chain: [job[-1] for job in jobs if chain in job] for chain in chains}
    chance = ["protocol=standard", "pruner=random", "pruner=l1"]
    assert controls == {chains[0]: chance, chains[1]: [*chance, "protocol=dense", "protocol=half"]}


def test_a_job_with_a_teacher_is_also_run_without_one_and_by_itself_with_the_same_controls() -> None:
    asked = "pruner=l1 ratio=0.3 distill=kd distill.weight=2 distill.match=compute teacher.checkpoint=x"
    found = added(asked, "fair")
    assert found[:2] == [
        "pruner=l1 ratio=0.3 protocol=standard distill=none",
        "pruner=l1 ratio=0.3 protocol=standard distill.match=compute distill=self",
    ]
    rest = "distill=kd distill.weight=2 distill.match=compute teacher.checkpoint=x"
    assert set(found[2:]) == {
        f"ratio=0.3 {rest} protocol=standard pruner=random",
        f"{rest} protocol=dense",
        f"{rest} protocol=half",
        "ratio=0.3 protocol=standard distill=none pruner=random",
        "distill=none protocol=dense",
        "distill=none protocol=half",
        "ratio=0.3 protocol=standard distill.match=compute distill=self pruner=random",
        "distill.match=compute distill=self protocol=dense",
        "distill.match=compute distill=self protocol=half",
    }


@pytest.mark.parametrize("taught", ["distill=none", "distill=self", "seed=1"])
def test_a_job_without_a_teacher_of_its_own_gets_none(taught: str) -> None:
    assert not [
        job
        for job in added(f"pruner=l1 ratio=0.3 {taught}", "full")
        if "distill=" in job and taught not in job
    ]


def test_whether_a_budget_takes_a_ratio_is_read_from_its_yaml() -> None:
    config = composed("protocol=fair")
    OmegaConf.set_readonly(config.hydra, False)
    config.hydra.overrides.task = ["protocol=fair", "pruner=slimming", "budget=threshold,macs"]
    below, macs, *controls = jobs_of(config, GlobalHydra.instance().config_loader())
    assert ("budget=threshold" in below, "budget=macs" in macs) == (True, True)
    assert [control for control in controls if "pruner=random" in control] == [
        ["budget=macs", "protocol=standard", "pruner=random"]
    ]


def test_jobs_share_their_controls_and_what_was_asked_for_is_not_added_again() -> None:
    asked = [[f"pruner={name}", f"ratio={ratio}"] for name in ("taylor", "random") for ratio in (0.2, 0.5)]
    found = [set(job) for job in with_controls(asked, "fair", asked_of=lambda _: USUAL)]
    assert found == [
        *({*job, "protocol=standard"} for job in asked),
        {"ratio=0.2", "protocol=standard", "pruner=l1"},
        {"protocol=dense"},
        {"protocol=half"},
        {"ratio=0.5", "protocol=standard", "pruner=l1"},
    ]


@pytest.mark.parametrize("protocol", ["standard", "dense", "None"])
def test_other_protocols_add_nothing(protocol: str) -> None:
    assert with_controls([["ratio=0.2"]], protocol, asked_of=lambda _: USUAL) == [["ratio=0.2"]]


@pytest.mark.parametrize(("size", "batches"), [(None, [8]), (3, [3, 3, 2])])
def test_the_sweeper_launches_all_jobs_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int | None, batches: list[int]
) -> None:
    given = ["protocol=fair", "pruner=taylor", "ratio=0.2,0.3"]
    config, loader = (
        composed(*given[:2], f"hydra.sweep.dir={tmp_path}/sweep"),
        GlobalHydra.instance().config_loader(),
    )
    assert config.hydra.sweeper._target_ == f"{ControlSweeper.__module__}.{ControlSweeper.__qualname__}"
    OmegaConf.set_readonly(config.hydra, False)
    config.hydra.overrides.task = given
    launched: list[tuple[int, list[list[str]]]] = []

    class Launcher:
        def launch(self, jobs: list[list[str]], initial_job_idx: int) -> list[JobReturn]:
            launched.append((initial_job_idx, jobs))
            return [JobReturn(status=JobStatus.COMPLETED) for _ in jobs]

    monkeypatch.setattr(Plugins, "instantiate_launcher", lambda *_, **__: Launcher())
    sweeper = ControlSweeper(max_batch_size=size, params=None)
    context = HydraContext(config_loader=loader, callbacks=Callbacks())
    sweeper.setup(hydra_context=context, task_function=lambda _: None, config=config)
    assert len(sweeper.sweep(given)) == 2 + 2 * 2 + 2
    assert [len(jobs) for _, jobs in launched] == batches
    assert [first for first, _ in launched] == [sum(batches[:n]) for n in range(len(batches))]
    assert [job for _, jobs in launched for job in jobs] == jobs_of(config, loader)
    assert OmegaConf.load(tmp_path / "sweep" / "multirun.yaml").hydra.overrides.task == given


def test_params_of_the_sweeper_are_jobs_too() -> None:
    config = composed("sweep=grid")
    assert len(jobs_of(config, GlobalHydra.instance().config_loader())) == 9
    assert OmegaConf.select(config, "hydra.sweeper._target_").endswith("BasicSweeper")
