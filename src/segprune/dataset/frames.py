"""Whether images look like frames of a video, told from their names."""

import itertools
import re
from collections import Counter
from collections.abc import Sequence

_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL)


def in_a_row(names: Sequence[str]) -> int:
    """How many images follow another one of the same clip by the clip's usual step.

    A clip is the images whose names differ in their last number alone; its usual step is the most frequent
    difference between neighbouring numbers. Of frames that a video gave at a steady rate, all but the first follow
    another one; of single photographs, whose numbers have gaps, hardly any. Names cannot tell frames from images
    that were simply counted.

    Args:
        names: Without what the names of all images end with.
    """
    numbers: dict[tuple[str, str], list[int]] = {}
    for name in names:
        if found := _NUMBERED.fullmatch(name):
            before, number, after = found.groups()
            numbers.setdefault((before, after), []).append(int(number))
    return sum(_most_frequent_step(sorted(clip)) for clip in numbers.values())


def _most_frequent_step(numbers: Sequence[int]) -> int:
    """How often the most frequent difference between neighbours occurs."""
    steps = Counter(later - earlier for earlier, later in itertools.pairwise(numbers))
    return max(steps.values(), default=0)
