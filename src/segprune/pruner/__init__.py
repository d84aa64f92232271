"""Which channels matter: one file per criterion, which gives each channel a score."""
