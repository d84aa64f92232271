"""What a cut removed, as its stored plan says."""

from collections.abc import Mapping
from typing import Any


def removed_of(plan: Mapping[str, Any], unit: str) -> float:
    """The fraction of ``channels``, ``macs`` or ``params`` that the plan in ``plan.json`` removes.

    Up to version 0.1.0 it stood there under the name of the unit alone.
    """
    name = f"{unit}_removed"
    return float(plan[name] if name in plan else plan[unit])
