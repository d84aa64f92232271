import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from segprune.errors import ConfigError
from segprune.sweep.grid import checked_jobs, is_known, labels
from tests.test_conf import composed

pytestmark = pytest.mark.usefixtures("composer")
GRID = ["sweep=grid", "hydra.sweep.dir=somewhere", "tracking=silent", "hydra.sweeper.params.pruner='l1,fpgm'"]


def test_a_grid_is_every_combination_in_order() -> None:
    config = composed(*GRID, "hydra.sweeper.params.ratio='0.2,0.3'")
    jobs = list(checked_jobs(config))
    assert [job.run.name for job in jobs] == ["l1-r0.2-s0", "l1-r0.3-s0", "fpgm-r0.2-s0", "fpgm-r0.3-s0"]
    assert labels([job.overrides for job in jobs])[0] == "pruner=l1 ratio=0.2"
    assert [(job.asked["pruner"], job.asked["ratio"], job.asked["seed"]) for job in jobs] == [
        *(("l1", 0.2, 0), ("l1", 0.3, 0), ("fpgm", 0.2, 0), ("fpgm", 0.3, 0)),
    ]
    assert HydraConfig.get().runtime.choices.pruner == "taylor"  # that of the sweep, as before


def test_one_wrong_job_is_named_and_refuses_all() -> None:
    config = composed(*GRID, "hydra.sweeper.params.ratio='0.2,1.5'")
    with pytest.raises(
        ConfigError, match=r"the job .*ratio=1\.5.* cannot run, so none was started\.\nratio is 1\.5"
    ):
        list(checked_jobs(config))


def test_a_job_that_would_look_for_relative_paths_elsewhere_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"so none was started\.\nhydra\.job\.chdir is true.*chdir=false"):
        list(checked_jobs(composed(*GRID, "hydra.job.chdir=true")))
    assert list(checked_jobs(composed(*GRID, "hydra.job.chdir=false")))


def test_every_job_has_a_folder_and_two_jobs_none_together() -> None:
    grid = [*GRID, "hydra.sweeper.params.ratio='0.2,0.3'"]
    assert [str(job.folder) for job in checked_jobs(composed(*grid))] == [
        *("somewhere/0", "somewhere/1", "somewhere/2", "somewhere/3"),
    ]
    named = composed(*grid, "hydra.sweep.subdir=r${ratio}/${hydra:runtime.choices.pruner}")
    assert [job.folder.name for job in checked_jobs(named)] == ["l1", "l1", "fpgm", "fpgm"]
    with pytest.raises(
        ConfigError,
        match=r"the jobs pruner=l1 ratio=0\.2 .* and pruner=fpgm ratio=0\.2 .* would both write into "
        r"somewhere/r0\.2, so none .*hydra\.sweep\.subdir",
    ):
        list(checked_jobs(composed(*grid, "hydra.sweep.subdir=r${ratio}")))


def test_a_folder_whose_name_no_file_system_takes_is_refused_and_the_remedy_works() -> None:
    grid = [*GRID, "hydra.sweeper.params.ratio='0.2'"]
    longest = "hydra.sweep.subdir=${hydra:runtime.choices.pruner}/${seed}" + "a" * 254
    assert [len(job.folder.name) for job in checked_jobs(composed(*grid, longest))] == [255, 255]
    longer = 'hydra.sweep.subdir="${hydra:runtime.choices.pruner}/' + "\u00fc" * 128 + '"'  # 2 bytes each
    with pytest.raises(
        ConfigError, match=r"the job pruner=l1 .* has 256 bytes, .* 255 .*so none was"
    ) as told:
        list(checked_jobs(composed(*grid, longer)))
    remedy = str(told.value).split("'")[1]
    assert [job.folder.name for job in checked_jobs(composed(*grid, longer, remedy))] == ["0", "1"]


def test_other_sweepers_choose_their_jobs_while_they_run() -> None:
    assert is_known(composed())
    target = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"
    assert not is_known(OmegaConf.create({"hydra": {"sweeper": {"_target_": target}}}))


def test_a_label_leaves_out_what_all_jobs_share() -> None:
    assert labels([["a=1", "b=2"], ["a=1", "b=3"]]) == ["b=2", "b=3"]
    assert labels([["a=1", "b=2"], ["b=3"]]) == ["b=2", "b=3"]  # controls lack what does not concern them
    assert labels([["a=1", "b=2"]]) == ["a=1 b=2"]
    assert labels([]) == []
