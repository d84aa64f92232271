"""``segprune <command>``: every door of this program behind one name. Imports nothing heavy.

A new command is one entry of ``COMMANDS``.
"""

import difflib
import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from segprune.console import MISTAKE, command, while_read

CHECKOUT = Path(__file__).parent.parent.parent
"""The clone this package is in, with ``run.py`` and ``conf/``; some other folder for a copy without them."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One word behind ``segprune``.

    Attributes:
        does: What it does, in a few words.
        run: Its arguments -> its exit code.
        help: What its ``--help`` prints, where ``run`` has none of its own.
    """

    does: str
    run: Callable[[Sequence[str]], int]
    help: str = ""


def main() -> int:
    """Run the command that was typed and return its exit code."""
    return while_read(lambda: dispatched(sys.argv[1:]))


def dispatched(arguments: Sequence[str]) -> int:
    """Run the command that the first argument names; without one, say what there is."""
    word, *rest = arguments or ["--help"]
    if word in ("-h", "--help"):
        sys.stdout.write(overview())
        return 0
    if word == "--version":
        sys.stdout.write(f"segprune {version('segprune')}\n")
        return 0
    if word not in COMMANDS:
        sys.stderr.write(f"segprune: {unknown(word)}\n")
        return MISTAKE
    if COMMANDS[word].help and {"-h", "--help"} & {*rest}:
        sys.stdout.write(COMMANDS[word].help)
        return 0
    return COMMANDS[word].run(rest)


def overview() -> str:
    """One line per command."""
    width = max(map(len, COMMANDS))
    lines = [f"  {word:<{width}}  {entry.does}" for word, entry in COMMANDS.items()]
    return "\n".join(
        [
            "segprune: which channel-pruning method, at which budget, keeps the most mIoU?",
            "",
            *lines,
            "",
            "segprune <command> --help says more; segprune run alone trains on the embedded data.",
            "",
        ]
    )


def unknown(word: str) -> str:
    """What to type instead of a word that is no command."""
    if "=" in word:
        return f"{word!r} is an override, which needs a command before it: segprune run {word}"
    close = difflib.get_close_matches(word, COMMANDS, n=1)
    hint = f" Did you mean segprune {close[0]}?" if close else ""
    return f"{word!r} is no command; there are {', '.join(COMMANDS)}.{hint}"


def _run_py(flags: Sequence[str], choices: Sequence[str], overrides: Sequence[str]) -> int:
    """Become ``python run.py <flags> <overrides> <choices>``; returns only if there is no run.py."""
    script = CHECKOUT / "run.py"
    if script.is_file():
        if not Path.cwd().samefile(CHECKOUT):
            sys.stderr.write(
                f"segprune: the configuration is that of {CHECKOUT}; relative paths begin in {Path.cwd()}\n"
            )
            sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, str(script), *flags, *overrides, *choices])
    sys.stderr.write(
        f"segprune: there is no {script}: runs need run.py and conf/ of a clone, so install the clone with "
        "pip install -e <folder of the clone>\n"
    )
    return MISTAKE


def evaluation(arguments: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Flags, choices and overrides of ``segprune eval``.

    It calls ``checkpoint`` the candidate, and a list of splits is a run for each of them.
    """
    typed = [re.sub(r"^candidate=", "checkpoint=", one) for one in arguments]
    splits = re.compile(r"^(dataset\.report_split)=\[(.+)\]$")
    overrides = [splits.sub(r"\1=\2", one) for one in typed]
    return ["-m"] if overrides != typed else [], ["stages=[eval]"], overrides


def _module(name: str, arguments: Sequence[str]) -> int:
    """Run the ``main`` of a module."""
    return command(importlib.import_module(name).main, arguments)


EVAL = """\
segprune eval candidate=<network> [baseline=<network>] [key=value ...]

Evaluates two finished networks on the same images, side by side. It trains and cuts nothing.

  candidate   a network by its folder, by the folder, name or MLflow id of its run, or by last; beside a baseline
              an exported model.onnx too
  baseline    what it is compared with, named likewise; without one, the dense network that it was cut from

Give the model and the data set as for the run. It prints a table with mIoU, size
and speed of both, and writes every score, by class and by layer, to evaluation_report.json.

  segprune eval candidate=last dataset=camvid dataset.root=/data/camvid
  segprune eval baseline=dense-s0 candidate=taylor-r0.3-ft-s0 dataset=camvid dataset.root=/data/camvid
  segprune eval candidate=last dataset=camvid dataset.root=/data/camvid dataset.select=null dataset.report_split=val

segprune run --help has all keys.
"""
PLAN = """\
segprune plan [key=value,value ...]

Says what a sweep would do, and does nothing: which runs, by which schedules, what the store has of them already,
how long the rest takes and how much disk it needs. The same words behind segprune sweep begin it.

  segprune plan pruner=taylor,fpgm ratio=0.2,0.3
  segprune plan pruner=taylor,fpgm,sirfp ratio=0.3,0.5 seed=0,1,2 protocol=fair

segprune run --help has all keys.
"""
COMMANDS = {
    "run": Command(
        does="train, prune, finetune and evaluate: segprune run pruner=taylor ratio=0.3",
        run=partial(_run_py, [], []),
    ),
    "sweep": Command(
        does="one run per combination: segprune sweep pruner=taylor,fpgm ratio=0.2,0.3",
        run=partial(_run_py, ["-m"], []),
    ),
    "eval": Command(
        does="two finished networks side by side: segprune eval baseline=<run> candidate=<run>",
        run=lambda arguments: _run_py(*evaluation(arguments)),
        help=EVAL,
    ),
    "plan": Command(
        does="what a sweep would do and how long it would take, without doing it",
        run=partial(_run_py, ["-m"], ["hydra/launcher=plan"]),
        help=PLAN,
    ),
    "report": Command(
        does="write the report of a sweep again: segprune report outputs/sweeps/<date>/<time>",
        run=partial(_module, "segprune.report.__main__"),
    ),
    "store": Command(
        does="list, verify or tidy the stored results: segprune store list",
        run=partial(_module, "segprune.store.__main__"),
    ),
    "doctor": Command(
        does="what is wrong with your data, and what works: segprune doctor dataset=folder dataset.root=/data",
        run=partial(_module, "segprune.doctor.__main__"),
    ),
    "predict": Command(
        does="masks of images: segprune predict outputs/runs/<date>/<time> images/ --out masks/",
        run=partial(_module, "segprune.predict.__main__"),
    ),
    "ui": Command(
        does="open the MLflow UI on what was logged, on this machine only",
        run=partial(_module, "segprune.tracking.ui"),
    ),
    "reproduce": Command(
        does="the command that repeats a run, and what has changed since",
        run=partial(_module, "segprune.reproduce.__main__"),
    ),
    "replay": Command(
        does="send what waits on this disk because the tracking server was away",
        run=partial(_module, "segprune.tracking.replay"),
    ),
}

if __name__ == "__main__":
    sys.exit(main())
