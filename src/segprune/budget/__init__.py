"""How many channels are removed, and from which groups."""
