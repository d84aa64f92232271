"""How many channels go, and from where."""
