"""What to say of a configuration that can run and is seldom meant."""

from collections.abc import Iterator

from segprune.config.compose import Settings

LEAST = 0.05
"""Share of the training's epochs below which finetuning recovers little of a cut; a quarter to a half is usual."""


def advice(settings: Settings) -> Iterator[str]:
    """Sentences about schedules that do not belong together."""
    if not {"train", "finetune"} <= {*settings.stages}:
        return
    train, tune = settings.train, settings.finetune
    if not train.get("epochs") or not tune.get("epochs"):  # nothing is trained there
        return
    if train["optimizer"] != tune["optimizer"]:
        same = "sgd_poly" if train["optimizer"] == "sgd" else "standard"
        yield (
            f"train uses {train['optimizer']} (lr {train['lr']:g}) and finetune {tune['optimizer']} (lr "
            f"{tune['lr']:g}): finetune={same} or finetune=like_train uses the same optimiser"
        )
    if tune["epochs"] < LEAST * train["epochs"]:
        yield (
            f"finetune has {tune['epochs']} epochs, train {train['epochs']}: under {LEAST:.0%} recovers little of "
            f"a cut; finetune.epochs={round(train['epochs'] / 4)} is usual"
        )
