"""No distillation."""

from segprune.distill.contract import Match


def untaught(match: Match) -> None:
    """No loss: what a configuration without a teacher trains by besides the labels.

    Args:
        match: Of trainings with a teacher; there is none.
    """
    del match
