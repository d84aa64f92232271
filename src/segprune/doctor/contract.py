"""What the doctor finds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that would stop a run, or spoil its numbers.

    Attributes:
        text: What is wrong, in a sentence or two.
        keys: Keys of the dataset and the values that solve it; empty: no key does.
    """

    text: str
    keys: Mapping[str, Any] = field(default_factory=dict)

    def joined(self, other: "Problem") -> "Problem":
        """Both as one, solved by the keys of both."""
        return Problem(text=f"{self.text}; {other.text}", keys={**self.keys, **other.keys})
