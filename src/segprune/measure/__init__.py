"""Quality and cost of a network."""
