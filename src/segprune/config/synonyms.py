"""Words of other programs, which people type from habit, and what to type here."""

import re

_OF_TRAININGS = ("train.{0}={1}", "finetune.{0}={1}")


def _both(key: str, value: str = "{}") -> str:
    """The override for the training and for the finetuning."""
    return " ".join(text.format(key, value) for text in _OF_TRAININGS)


SYNONYMS: dict[str, str] = {
    "batch_size": _both("batch_size"),
    "epochs": _both("epochs"),
    "lr": _both("lr"),
    "learning_rate": _both("lr"),
    "weight_decay": _both("weight_decay"),
    "momentum": _both("momentum"),
    "optimizer": _both("optimizer"),
    "scheduler": _both("decay", "poly") + " (or cosine, or constant)",
    "lr_scheduler": _both("decay", "poly") + " (or cosine, or constant)",
    "warmup": _both("warmup_epochs"),
    "finetune_epochs": "finetune.epochs={}",
    "finetune_lr": "finetune.lr={}",
    "prune_ratio": "ratio={}",
    "pruning_ratio": "ratio={}",
    "sparsity": "ratio={}",
    "global_ratio": "ratio={} budget.scope=global",
    "global_pruning": "budget.scope=global",
    "method": "pruner={}",
    "criterion": "pruner={}",
    "importance": "pruner={}",
    "threshold": "budget=threshold budget.threshold={}",
    "slimming_lambda": "pruner=slimming pruner.phase.penalty={}",
    "sparsity_lambda": "pruner=slimming pruner.phase.penalty={}",
    "oracle_samples": "eval.oracle.samples={}",
    "data_root": "dataset.root={}",
    "data_dir": "dataset.root={}",
    "data_path": "dataset.root={}",
    "arch": "model={}",
    "backbone": "model={}",
    "pretrained": "model.weights=imagenet",
    "num_workers": "workers={}",
    "gpu": "device=cuda:{}",
    "num_gpus": "gpus={}",
    "nproc_per_node": "gpus={}",
    "world_size": "gpus={}",
    "output_dir": "paths.outputs={}",
    "save_dir": "paths.outputs={}",
    "work_dir": "paths.outputs={}",
    "seeds": "seed={}",
    "resume": "checkpoint=last 'stages=[prune,finetune,eval]'; for a run that was stopped, repeat its command",
    "skip_existing": "",
}
"""Word -> overrides, with {} for the value that was typed; empty: what it asks for is always so."""
ALWAYS = (
    "finished results are always used again, and only what is missing is computed; store.reuse=false computes all "
    "again"
)
NAMED = re.compile(r"-{0,2}([A-Za-z][\w-]*)(?:=(.*))?")


def meant(typed: str, following: str = "") -> str:
    """What to type instead of a flag or an override; empty where that is not known.

    Args:
        typed: As ``--batch-size``, ``--epochs=2`` or ``epochs=2``.
        following: What was typed behind it, which may be its value.
    """
    found = NAMED.fullmatch(typed)
    word = found[1].replace("-", "_").lower() if found else ""
    if found is None or word not in SYNONYMS:
        return ""
    overrides = SYNONYMS[word]
    value = found[2] or ("" if following.startswith("-") or "=" in following else following) or "..."
    return f"give {overrides.replace('{}', value)}." if overrides else f"{ALWAYS}."
