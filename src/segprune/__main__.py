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
    """

    does: str
    run: Callable[[Sequence[str]], int]


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
    ),
    "plan": Command(
        does="what a sweep would do and how long it would take, without doing it",
        run=partial(_run_py, ["-m"], ["hydra/launcher=plan"]),
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
