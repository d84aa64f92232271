"""The origin of a run's numbers, kept with the run, and repeating the run from it."""
