"""Around Hydra: clear errors, honest exit codes, one table per sweep. Imports nothing heavy.

Exit codes: 0 all done; 1 a mistake in the command, or a single run failed; 3 some jobs of a sweep failed; 130
Ctrl-C; 141 nobody reads the output any more; 143 terminated.
"""

import io
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from segprune import console, stop
from segprune.allocator import keep_freed
from segprune.config.places import parted, quoted, refuse_hidden
from segprune.config.protocol import CHAIN
from segprune.config.refusal import refusal
from segprune.config.synonyms import meant
from segprune.errors import SegpruneError
from segprune.importing import importing
from segprune.shortage import shortage

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
        except BrokenPipeError:  # as behind `| head`; the run goes on, and its log file has every line
            console.silence_unread()
        except OSError:
            self.handleError(record)


def guarded(main: Callable[..., None]) -> int:
    """Run Hydra's main and return the exit code; a user's mistake is one paragraph, never a traceback."""
    return console.while_read(partial(_guarded, main))


def _guarded(main: Callable[..., None]) -> int:
    from segprune.sweep import callback, handover

    _shorten_spinning()
    keep_freed()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on instead of printing them and exiting
    if foreign := _foreign(sys.argv[1:]):
        return _complain(foreign, console.MISTAKE)
    flags, overrides = parted(sys.argv[1:])
    sys.argv[1:] = [*flags, *with_stages([quoted(override) for override in overrides])]
    stop.install()
    handover.take_over()
    code = 1
    try:
        refuse_hidden(flags, overrides, beside=Path(sys.argv[0]).resolve().parent)
        with _commented_help(flags, overrides):
            main()
        code = 0
    except KeyboardInterrupt:
        code = _complain("interrupted; the same command continues from here", 128 + signal.SIGINT)
    except SystemExit as ended:
        code = _complain(ended.code, 1) if isinstance(ended.code, str) else ended.code or 0
        code = console.MISTAKE if code == console.UNKNOWN_FLAG else code
        if code == 128 + signal.SIGTERM:
            _complain("terminated; the same command continues from here", code)
    except SegpruneError as error:
        code = _complain(str(error), 1)
    except Exception as error:
        told = refusal(error)
        if told is None:
            raise
        code = _complain(told, 1)
    return max(code, callback.finish(code))


@contextmanager
def _commented_help(flags: Sequence[str], overrides: Sequence[str]) -> Iterator[None]:
    """``--help`` shows the comment of each key beside it."""
    if not {"--help", "-h"} & {*flags}:
        yield
        return
    from segprune.config.comments import commented, comments_of

    told = io.StringIO()
    try:
        with redirect_stdout(told), _known_once():
            yield
    finally:
        conf = Path(sys.argv[0]).resolve().parent / "conf"
        comments = comments_of(conf, overrides) if (conf / "config.yaml").is_file() else {}
        sys.stdout.write(commented(told.getvalue(), comments))


@contextmanager
def _known_once() -> Iterator[None]:
    """Help lists some twenty groups, and for each of them Hydra would copy all that it knows of its folders."""
    from hydra._internal.config_repository import ConfigRepository

    repository: Any = ConfigRepository
    repository.__deepcopy__ = lambda known, _: known
    try:
        yield
    finally:
        del repository.__deepcopy__


def _shorten_spinning() -> None:
    """How long OpenMP's threads spin for work before they sleep; only acts before torch is imported.

    Long, as is its default, starves whatever shares the cores; not at all costs a third of the speed on idle ones.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")


def _foreign(arguments: Sequence[str]) -> str:
    """What to type instead of a flag of other programs, as ``--epochs 2``; empty if there is none."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument.startswith("--") and (told := meant(argument, following)):
            return f"{argument} is no flag here; {told} Overrides are key=value, without dashes."
    return ""


def with_stages(arguments: Sequence[str]) -> list[str]:
    """The overrides, and the file ``conf/stage/<word>.yaml`` of every further stage that ``stages=[...]`` names."""
    lists = [
        argument.partition("=")[2] for argument in arguments if argument.lstrip("+").startswith("stages=")
    ]
    words = dict.fromkeys(re.findall(r"[\w-]+", " ".join(lists)))
    given = {argument.lstrip("+").partition("=")[0] for argument in arguments}
    further = [word for word in words if word not in CHAIN and f"stage@stage.{word}" not in given]
    return [*arguments, *(f"+stage@stage.{word}={word}" for word in further)]


def run_or_record(cfg: DictConfig) -> None:
    """Run one job and record how it ended; in a sweep, a failure ends this job alone."""
    from segprune.sweep import callback, estimate, handover

    is_single = not (handover.is_job() or str(HydraConfig.get().mode).endswith("MULTIRUN"))
    with callback.recorded_job(cfg) as record:
        if is_single:
            choices = HydraConfig.get().runtime.choices
            kind = str(choices.get("dataset")), str(choices.get("model"))
            plain = cast("dict[str, Any]", OmegaConf.to_container(cfg))
            log.info("%s", estimate.expectation(Path(str(cfg.paths.outputs)), kind, plain))
        try:
            with importing():
                from segprune.app import run_job

            parent = None if is_single else callback.parent_run_id()
            record.done(run_job(cfg, parent, on_open=record.tracked, on_use=record.uses))
        except Exception as error:
            is_told = isinstance(error, SegpruneError)
            told = str(error) if is_told else shortage(error, partial(OmegaConf.select, cfg))
            record.failed(told or f"{type(error).__name__}: {error}")
            if is_single and told:
                # an exit, since Hydra would announce an error with its own words first
                raise SystemExit(_complain(told, 1)) from error
            if is_single:
                raise
            log.error("FAILED: %s", told or traceback.format_exc())


def _complain(message: str, code: int) -> int:
    try:
        sys.stdout.flush()
        sys.stderr.write(f"\nsegprune: {message}\n")
    except BrokenPipeError:
        console.silence_unread()
    return code
