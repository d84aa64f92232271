"""Prints the table of metrics for the documentation: ``python -m segprune.result``."""

import sys

from segprune.result.metrics import documentation

if __name__ == "__main__":
    sys.stdout.write(f"{documentation()}\n")
