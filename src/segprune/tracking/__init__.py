"""The experiment tracker: the only door to mlflow."""
