"""Around Hydra: clear errors, honest exit codes, one table per sweep. Imports nothing heavy.

Exit codes: 0 all done; 1 a mistake in the command, or a single run failed; 3 some jobs of a sweep failed; 130
Ctrl-C; 143 terminated.
"""

import difflib
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segprune import stop
from segprune.errors import SegpruneError

log = logging.getLogger(__name__)


class ConsoleHandler(logging.StreamHandler[Any]):
    """Lines on stdout that do not tear progress bars apart."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line above the bars, if there are any."""
        from tqdm import tqdm

        try:
            tqdm.write(self.format(record), file=sys.stdout)
        except OSError:  # nobody reads any more, as behind `| head`; the log file has the line
            self.handleError(record)


def guarded(main: Callable[..., None]) -> int:
    """Run Hydra's main and return the exit code; a user's mistake is one paragraph, never a traceback.

    A process that was started for one job of a sweep runs that job.
    """
    from segprune import handover, sweep

    # Spinning threads waste the core that another process could use; only works before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on instead of printing them and exiting
    stop.install()
    code = 1
    try:
        if handover.is_job():
            handover.run_the_job(main)
        else:
            main()
        code = 0
    except KeyboardInterrupt:
        code = _complain("interrupted; the same command goes on from here", 128 + signal.SIGINT)
    except SystemExit as ended:
        code = _complain(ended.code, 1) if isinstance(ended.code, str) else ended.code or 0
        if code == 128 + signal.SIGTERM:
            _complain("terminated; the same command goes on from here", code)
    except (HydraException, OmegaConfBaseException) as error:
        code = _complain(_with_suggestion(str(error)), 1)
    except SegpruneError as error:
        code = _complain(str(error), 1)
    return max(code, sweep.finish(code))


def run_or_record(cfg: DictConfig) -> None:
    """Run one job and record how it ended; in a sweep, a failure ends this job alone."""
    from segprune import sweep

    is_single = not str(HydraConfig.get().mode).endswith("MULTIRUN")
    with sweep.recorded_job(cfg) as record:
        try:
            from segprune.app import run_job

            parent = None if is_single else sweep.parent_run_id()
            record.done(run_job(cfg, parent_run_id=parent, on_open=record.tracked))
        except SegpruneError as error:
            record.failed(str(error))
            if is_single:
                # an exit, since Hydra would announce an error with its own words first
                raise SystemExit(_complain(str(error), 1)) from error
            log.error("FAILED: %s", error)
        except Exception as error:
            record.failed(f"{type(error).__name__}: {error}")
            if is_single:
                raise
            log.error("FAILED\n%s", traceback.format_exc())


def _complain(message: str, code: int) -> int:
    sys.stdout.flush()
    sys.stderr.write(f"\nsegprune: {message}\n")
    return code


def _with_suggestion(message: str) -> str:
    """Hydra's message, with the closest existing key when an unknown one was given."""
    found = re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct", message)
    if not found:
        return message
    wrong = found.group(1) or found.group(2)
    keys = _known_keys()
    close = difflib.get_close_matches(wrong, keys, n=1, cutoff=0.5)
    hint = f" Did you mean '{close[0]}'?" if close else " See all keys with: python run.py --cfg job"
    return f"'{wrong}' is not a key of this configuration.{hint}"


def _known_keys() -> list[str]:
    """Every dotted key of the default configuration."""
    from pathlib import Path

    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(Path(sys.argv[0]).resolve().parent / "conf"), version_base="1.3"):
        plain = OmegaConf.to_container(compose("config"), resolve=False)
    keys: list[str] = []

    def collect(node: object, prefix: str) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                keys.append(f"{prefix}{key}")
                collect(value, f"{prefix}{key}.")

    collect(plain, "")
    return keys
