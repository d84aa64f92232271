"""``segprune doctor``: what a data set holds, all that is wrong with it, and the command that works."""
