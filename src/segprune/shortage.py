"""Recognises an out-of-memory error from any library, and says what to lower then."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_SIZES = (
    *("train.batch_size", "finetune.batch_size", "calibration.batch_size", "eval.batch_size"),
    *("dataset.size_hw", "dataset.crop_hw"),
)
_GPU_SIZES = ("between.batch_size", "pruner.phase.schedule.batch_size", "eval.oracle.copies")
_NOISE = re.compile(r"^\[enforce fail at [^\]]*\] \S+ == \d+\. ")


@dataclass(frozen=True)
class _Kind:
    """A kind of memory: how libraries report that it is full, the keys that use it, and the remedy."""

    name: str
    words: str
    keys: tuple[str, ...]
    remedy: str


_KINDS = (
    _Kind(
        name="the GPU's memory",
        # a library that finds no room for its own workspace says that it is not initialised, or finds no engine
        words=r"(CUDA|HIP) out of memory|CUDA error: out of memory|CU(BLAS|DNN)_STATUS_(\w*_)?ALLOC\w*_FAILED"
        r"|CU(BLAS|DNN)_STATUS_ALLOC_FAILED|CU(BLAS|DNN)_STATUS_NOT_INITIALIZED|[Uu]nable to find an engine",
        keys=(*_SIZES, *_GPU_SIZES),
        remedy="Lower {keys}; train.accumulate makes up for smaller batches. Or give the GPU to one job at a time.",
    ),
    _Kind(
        name="the memory that data loading processes share",
        words=r"out of shared memory|DataLoader worker .*Bus error",
        keys=("workers",),
        remedy="Lower {keys} to 0, or make /dev/shm larger (docker run --shm-size).",
    ),
    _Kind(
        name="the memory",
        words=r"[Cc]an(not|'t) allocate memory|bad_alloc|failed to map segment|MemoryError|worker .*signal: Killed",
        keys=(*_SIZES, "dataset.cache_mb", "workers"),
        remedy="Lower {keys}; train.accumulate makes up for smaller batches. Or run fewer jobs at a time.",
    ),
)


def shortage(error: Exception, value_of: Callable[[str], object]) -> str:
    """One paragraph if an error says that memory ran out; empty if it says something else.

    torch has a class of its own for it on GPUs only, so the text of the message decides.

    Args:
        error: What ended the run.
        value_of: Key of the configuration -> its value, None if it has no such key.
    """
    for link in _chain(error):
        for kind in _KINDS:
            found = re.search(f".*({kind.words}).*", str(link))
            if found or (isinstance(link, MemoryError) and kind is _KINDS[-1]):
                said = _NOISE.sub("", found[0]) if found else str(link).split("\n", maxsplit=1)[0]
                values = {key: value_of(key) for key in kind.keys}
                keys = ", ".join(f"{key} ({value})" for key, value in values.items() if value)
                return f"{kind.name} ran out: {said[:300] or 'MemoryError'}. {kind.remedy.format(keys=keys)}"
    return ""


def is_about_memory(line: str) -> bool:
    """Whether a line of output says that memory ran out."""
    return any(re.search(kind.words, line) for kind in _KINDS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that are named as its causes."""
    while error is not None:
        yield error
        error = error.__cause__
