"""Recognises an out-of-memory error from any library, and says what to lower then."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

_BATCHES = (
    *("train.batch_size", "finetune.batch_size", "calibration.batch_size", "eval.batch_size"),
    *("between.batch_size", "pruner.phase.schedule.batch_size", "eval.oracle.copies"),
)
"""What a run as a whole keeps in memory; a stage knows better, see ``StageMemoryError``."""
_IMAGES = ("dataset.size_hw", "dataset.crop_hw")
NO_ROOM = 28
"""The system's number for a full disk or /dev/shm; exit code of a data loading process that met it."""
_NOISE = re.compile(r"^\[enforce fail at [^\]]*\] \S+ == \d+\. ")


class StageMemoryError(RuntimeError):
    """Memory ran out in a stage; the cause says which memory.

    Attributes:
        word: Of the stage.
        keys: Those that say how much memory the stage needs; empty: not known.
    """

    def __init__(self, word: str, keys: Sequence[str]) -> None:
        super().__init__(f"a lack of memory in {word}")
        self.word, self.keys = word, tuple(keys)


@dataclass(frozen=True)
class _Kind:
    """A kind of memory: how libraries report that it is full, and the remedy.

    Attributes:
        name: What a person calls it.
        words: How libraries report that it is full.
        keys: Those that use it besides the batches.
        holds_batches: Whether smaller batches help.
        remedy: In words, with a place for the keys.
    """

    name: str
    words: str
    keys: tuple[str, ...]
    holds_batches: bool
    remedy: str


_KINDS = (
    _Kind(
        name="the GPU's memory",
        # a library that finds no room for its own workspace says that it is not initialised, or finds no engine
        words=r"(CUDA|HIP) out of memory|CUDA error: out of memory|CU(BLAS|DNN)_STATUS_(\w*_)?ALLOC\w*_FAILED"
        r"|CU(BLAS|DNN)_STATUS_ALLOC_FAILED|CU(BLAS|DNN)_STATUS_NOT_INITIALIZED|[Uu]nable to find an engine",
        keys=_IMAGES,
        holds_batches=True,
        remedy="Lower {keys}{more}. Or give the GPU to one job at a time.",
    ),
    _Kind(
        name="the memory that data loading processes share",
        words=r"out of shared memory|DataLoader worker .*Bus error|[Uu]nable to \w+ .*/torch_.*No space left"
        rf"|DataLoader worker .*exit code {NO_ROOM}\b",
        keys=("workers",),
        holds_batches=False,
        remedy="Lower {keys} to 0, or make /dev/shm larger (docker run --shm-size).",
    ),
    _Kind(
        name="the memory",
        words=r"[Cc]an(not|'t) allocate memory|bad_alloc|failed to map segment|MemoryError|worker .*signal: Killed",
        keys=(*_IMAGES, "dataset.cache_mb", "workers"),
        holds_batches=True,
        remedy="Lower {keys}{more}. Or run fewer jobs at a time.",
    ),
)


def shortage(error: Exception, value_of: Callable[[str], object]) -> str:
    """One paragraph if an error says that memory ran out; empty if it says something else.

    torch has a class of its own for it on GPUs only, so the text of the message decides.

    Args:
        error: What ended the run.
        value_of: Key of the configuration -> its value, None if it has no such key.
    """
    links = list(_chain(error))
    stage = next((link for link in links if isinstance(link, StageMemoryError)), None)
    for link in links:
        for kind in _KINDS:
            found = re.search(f".*({kind.words}).*", str(link))
            if found or (isinstance(link, MemoryError) and kind is _KINDS[-1]):
                said = _NOISE.sub("", found[0]) if found else str(link).split("\n", maxsplit=1)[0]
                where = f"{stage.word}: " if stage else ""
                remedy = _remedy(kind, (stage and stage.keys) or _BATCHES, value_of)
                return f"{where}{kind.name} ran out: {said[:300] or 'MemoryError'}. {remedy}"
    return ""


def _remedy(kind: _Kind, batches: Sequence[str], value_of: Callable[[str], object]) -> str:
    """What to lower, with the values that it has, and what makes up for it in trainings."""
    values = {key: value_of(key) for key in (*(batches if kind.holds_batches else ()), *kind.keys)}
    listed = [f"{key} ({value})" for key, value in values.items() if value]
    schedules = [key.removesuffix(".batch_size") for key in batches if values.get(key)]
    trained = [key for key in schedules if value_of(f"{key}.accumulate") is not None]
    more = f"; {trained[0]}.accumulate makes up for smaller batches" if trained else ""
    if trained and not value_of(f"{trained[0]}.checkpointing"):
        more += f", and {trained[0]}.checkpointing=true takes less memory and more time"
    return kind.remedy.format(keys=", ".join(listed), more=more)


def is_about_memory(line: str) -> bool:
    """Whether a line of output says that memory ran out."""
    return any(re.search(kind.words, line) for kind in _KINDS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that are named as its causes."""
    while error is not None:
        yield error
        error = error.__cause__
