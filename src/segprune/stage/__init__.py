"""The links of the chain; each takes a network state and returns a new one."""
