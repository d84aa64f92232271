"""What a run's numbers come from, kept with the run; and the run made again from it."""
