"""How a network was made of the dense one: one file per kind of transform."""
