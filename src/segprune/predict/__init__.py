"""What uses a network that a run has made: in Python, on the command line, behind MLflow."""
