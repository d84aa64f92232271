"""Packages of a user's own, small ones: every process reads the code of its extensions."""

import os
from pathlib import Path


def with_extensions() -> dict[str, str]:
    """What a process needs in its environment to find them."""
    places = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, places))}
