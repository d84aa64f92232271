"""Which channels matter: one criterion a file, each giving one score per channel."""
