"""Train, prune, finetune and evaluate a segmentation network: ``python run.py --help``."""

import sys

import hydra
from omegaconf import DictConfig

from segprune.cli import guarded, run_or_record


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    """One run, or one job of a sweep."""
    run_or_record(cfg)


if __name__ == "__main__":
    sys.exit(guarded(main))
