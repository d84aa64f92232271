"""Words of the group ``protocol`` that code has to know; what each adds to a sweep says ``sweep/controls.py``."""

FOR_SWEEPS = ("fair", "full")
"""Options that add jobs to a sweep, so that one job cannot have them."""
CHANCE_AND_NORM = ("random", "l1")
"""The criteria that these options add."""
