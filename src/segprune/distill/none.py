"""No distillation."""


def untaught() -> None:
    """No loss: what a configuration without a teacher trains by besides the labels."""
