"""How a job in a process of its own gets the configuration that Hydra's own launcher would give it.

The parent hands over what the command line said, as JSON in the environment; the job composes it again.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence

from hydra._internal.callbacks import Callbacks
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.hydra import Hydra
from hydra.core.plugins import Plugins
from hydra.core.utils import run_job
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

VARIABLE = "SEGPRUNE_JOB"


def hand_over(sweep: DictConfig, number: int, overrides: Sequence[str], *, grace_s: float) -> dict[str, str]:
    """The environment variable that makes a process run one job.

    Args:
        sweep: The configuration of the whole sweep, with Hydra's node.
        number: Of the job.
        overrides: Of the job.
        grace_s: How long the job may take to end when its parent is gone.
    """
    hydra = sweep.hydra
    job = {
        "number": number,
        "overrides": list(overrides),
        "sweep_overrides": OmegaConf.to_container(hydra.overrides.hydra),
        "app": hydra.job.name,
        "config_name": hydra.job.config_name,
        "sources": [
            [source.provider, f"{source.schema}://{source.path}"] for source in hydra.runtime.config_sources
        ],
        # What ${now:...} gave to the sweep, since the job's folder is below that of the sweep.
        "now": [[list(pattern), text] for pattern, text in OmegaConf.get_cache(sweep)["now"].items()],
        "grace_s": grace_s,
    }
    return {VARIABLE: json.dumps(job)}


def is_job() -> bool:
    """Whether this process was started to run one job of a sweep."""
    return VARIABLE in os.environ


def run_the_job(task: Callable[[DictConfig], None]) -> None:
    """Compose the job that was handed over and run it; the process ends when its parent does."""
    job = json.loads(os.environ.pop(VARIABLE))
    threading.Thread(target=_end_with_parent, args=[job["grace_s"]], daemon=True).start()
    Plugins.instance()  # makes the places known where configurations are looked for
    places = ConfigSearchPathImpl()
    for provider, place in job["sources"]:
        places.append(provider, place)
    loader = Hydra.create_main_hydra2(job["app"], places).config_loader
    sweep = OmegaConf.create(
        {
            "hydra": {
                "overrides": {"hydra": job["sweep_overrides"]},
                "job": {"config_name": job["config_name"]},
            }
        }
    )
    OmegaConf.get_cache(sweep)["now"].update({tuple(pattern): text for pattern, text in job["now"]})
    config = loader.load_sweep_config(sweep, job["overrides"])
    number_the_job(config, job["number"])
    done = run_job(
        hydra_context=HydraContext(config_loader=loader, callbacks=Callbacks(config)),
        task_function=task,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
    _ = done.return_value  # raises what the job raised


def number_the_job(config: DictConfig, number: int) -> None:
    """What Hydra's own launcher adds to the configuration of a job."""
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = number


def _end_with_parent(grace_s: float) -> None:
    """Wait until the other end of standard input is closed, which the system does for a parent that was killed."""
    while os.read(0, 1):
        pass
    for _ in range(2):  # asked a second time, a job ends at once
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_s / 2)
    os.killpg(0, signal.SIGKILL)
