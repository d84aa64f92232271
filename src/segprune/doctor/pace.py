"""How fast one core loads the images of a data set."""

from time import perf_counter

from segprune.dataset.contract import SegData

_TIMED = 16


def pace(data: SegData) -> str:
    """Training images a second on one core, decoded from their files and, if they all fit there, from memory."""
    count = min(_TIMED, len(data.fit))
    chosen = [index * len(data.fit) // count for index in range(count)]
    first, second = (_per_second(data, chosen) for _ in range(2))
    text = f"one core loads {first:.1f} training images a second from their files"
    if data.decoding == "once":
        return f"{text}, and {second:.1f} once they are in memory"
    return f"{text}; they do not all fit into dataset.cache_mb, so they are decoded again in every epoch"


def _per_second(data: SegData, chosen: list[int]) -> float:
    started = perf_counter()
    for index in chosen:
        data.fit[index]
    return len(chosen) / (perf_counter() - started)
