"""How a teacher teaches: one file per loss, and what all losses are given."""
