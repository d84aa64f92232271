"""An extension that cannot be imported."""

RATIO = 1 / 0
