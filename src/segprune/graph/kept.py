"""What was found for a network, kept for the next one of the same structure."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Found = TypeVar("Found")


class Kept(Generic[Found]):
    """What was found last, by what it depends on; nobody changes it afterwards.

    A run makes, reads and cuts its network several times, and so does each job of a process.

    Args:
        most: How many are kept; of more, the one that nobody has asked for longest goes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: OrderedDict[Hashable, Found] = OrderedDict()

    def __call__(self, key: Hashable, find: Callable[[], Found]) -> Found:
        """What was found for a key; it is looked for where nothing is kept.

        Args:
            key: All that it depends on.
            find: Looks for it; where that raises, nothing is kept.
        """
        if key not in self._found:
            self._found[key] = find()
        self._found.move_to_end(key)
        while len(self._found) > self._most:
            self._found.popitem(last=False)
        return self._found[key]
