"""Which stages a key of the configuration touches.

``CASES``: a choice of options -> key -> another valid value, and the first stage whose result it can change. Every
stage is made of those before it, so all that follow are touched too: ``train``, ``prepare`` (a criterion's training
phase), ``prune``, ``finetune``, ``eval``. A key that changes no result says ``NOTHING``.
"""

from collections.abc import Mapping

import torch

NOTHING = ""
REFUSED = "refused"
"""Of a key with one valid value: any other one is refused."""
DEFAULT = ""
DICE = {"_target_": "segprune.loss.dice.Dice"}
Touches = Mapping[str, tuple[object, str]]
"""Key -> another value, first touched stage."""


def schedule(at: str, stage: str, **others: object) -> Touches:
    """The keys of a training schedule.

    Those that a schedule does not read, such as the momentum of AdamW, count as touching: a training is then made
    again without need, but never a wrong one reused.

    Args:
        at: Where it stands in the configuration.
        stage: What it trains.
        others: Other values where this schedule has the usual ones already.
    """
    values: dict[str, object] = {
        "epochs": 3,
        "batch_size": 3,
        "accumulate": 2,
        "optimizer": "sgd",
        "lr": 0.004,
        "weight_decay": 0.02,
        "momentum": 0.8,
        "decay": "cosine",
        "poly_power": 0.8,
        "warmup_epochs": 0.25,
        "loss": DICE,
        "class_weights": "median",
        "aux_weight": 0.2,
        "penalty": 0.001,
        "amp": "none",
        "compile": True,
        "checkpointing": True,
        "grad_clip": 1.0,
        "keep": "last",
    }
    return {f"{at}.{name}": (value, stage) for name, value in {**values, **others}.items()}


def phase(**others: object) -> Touches:
    """The schedule of a criterion's training phase, whose last epoch always counts."""
    at = "pruner.phase.schedule"
    of_phase = {"phase_epochs": (3, "prepare"), f"{at}.keep": ("best", REFUSED)}
    return {**schedule(at, "prepare", **others), **of_phase}


WATCHED: Touches = {f"pruner.phase.schedule.{name}": (True, REFUSED) for name in ("compile", "checkpointing")}
"""Of phases that look into layers while they run."""
BUDGET: Touches = {
    "budget.floor": (0.2, "prune"),
    "budget.round_to": (2, "prune"),
}
RATIO_BUDGET: Touches = {
    **BUDGET,
    "budget.scope": ("local", "prune"),
    "budget.tolerance": (0.5, "prune"),  # a cut that was allowed may be refused now
}
TORCHVISION: Touches = {"model.aux": (False, "train"), "model.weights": ("imagenet", "train")}
RESNET: Touches = {
    "model.output_stride": (8, "train"),
    "model.head_channels": (128, "train"),
    "model.weights": ("imagenet", "train"),
}
LOSS: Touches = {
    "distill.match": ("compute", "finetune"),
    "distill.weight": (2.0, "finetune"),
    "distill.temperature": (2.0, "finetune"),
    "distill.ignored": ("left_out", "finetune"),
}
CROPS: Touches = {
    "dataset.augment.crop_area": ([0.5, 1.0], "train"),
    "dataset.augment.flip": (0.0, "train"),
    "dataset.augment.jitter": (0.1, "train"),
    "dataset.seed": (7, "train"),
}
FILES: Touches = {
    "dataset.root": ("moved", NOTHING),
    "dataset.limit": (2, "train"),
    "dataset.cache_dir": ("elsewhere", NOTHING),
    "dataset.cache_mb": (0, NOTHING),
}
ROOT: Touches = {
    "ratio": (0.4, "prune"),
    "phase_epochs": (3, NOTHING),  # of criteria that have a phase
    "rounds": (2, "prune"),
    "init": ("scratch", "prune"),
    "stretch": (True, "finetune"),
    "baseline": ("elsewhere", REFUSED),  # of a chain that only evaluates
    "stage.finetune.makes": ("trained", "eval"),
    "seed": (1, "train"),
    "stages": (["train", "prune", "eval"], "finetune"),
    "calibration.images": (3, "prune"),
    "calibration.batch_size": (2, "prune"),
    # a device of another type touches all
    "device": ("auto", "train" if torch.cuda.is_available() else NOTHING),
    "gpus": (2, "train"),
    "threads": (3, "eval"),  # latencies; sums of floats too, but a sweep has to share what it trained
    "workers": (2, NOTHING),
    "paths.outputs": ("elsewhere", NOTHING),
    "paths.cache": ("elsewhere", NOTHING),
    "store.root": ("elsewhere", NOTHING),
    "store.reuse": (False, NOTHING),
    "store.accept": (["train"], NOTHING),
    "log_checkpoint": (False, NOTHING),
    "extensions": (["tests"], "train"),  # what nothing names acts when it is imported
    # nobody teaches
    "teacher.checkpoint": ("elsewhere", NOTHING),
    "teacher.model": ({"_target_": "segprune.model.unet.unet"}, NOTHING),
    "teacher.teaches": (["train"], NOTHING),
    "teacher.cache_logits": (True, NOTHING),
}
CASES: Mapping[str, Touches] = {
    DEFAULT: {
        **ROOT,
        **schedule("between", NOTHING),  # there is but one round
        "between.loss": (DICE, "prune"),  # its code counts
    },
    "rounds=2": schedule("between", "prune"),
    "pruner=slimming rounds=2": {
        **schedule("between", NOTHING),  # repeats its own phase
        "between.loss": (DICE, "prune"),  # its code counts
    },
    "stages=[prune,finetune,eval] checkpoint=FIRST": {
        "checkpoint": ("SECOND", "prune"),
        "dataset.counts.select": (0, "finetune"),
    },
    # a cut that trains depends on all that a training does, also where none stands before it
    "stages=[prune,finetune,eval] checkpoint=FIRST rounds=2": {
        "dataset.counts.select": (0, "prune"),
        "dataset.augment.flip": (0.0, "prune"),
        "gpus": (2, "prune"),
    },
    "stages=[prune,eval] checkpoint=FIRST": {"checkpoint": ("COPY", NOTHING)},
    "dataset=streets": {
        **CROPS,
        "dataset.size_hw": ([32, 64], "train"),
        "dataset.counts.fit": (5, "train"),
        "dataset.counts.select": (3, "train"),
        "dataset.counts.report": (3, "eval"),
        "dataset.data_seed": (1, "train"),
        "dataset.cache_dir": ("elsewhere", NOTHING),
    },
    "dataset=streets train.keep=last finetune.keep=last": {
        "dataset.counts.select": (3, "train"),  # its mIoU is in the curve
    },
    "dataset=camvid dataset.root=CAMVID dataset.size_hw=[32,32]": {
        **CROPS,
        **FILES,
        "dataset.size_hw": ([32, 48], "train"),
        "dataset.select": (None, "train"),
    },
    "dataset=camvid dataset.root=CAMVID dataset.select=null": {"dataset.report_split": ("val", "eval")},
    "dataset=cityscapes dataset.root=CITYSCAPES": {
        **FILES,
        "dataset.size_hw": ([64, 64], "train"),  # class weights come from labels of this size
        "dataset.crop_hw": ([64, 64], "train"),
        "dataset.select_fraction": (0.5, "train"),
        "dataset.select_seed": (1, "train"),
        "dataset.augment.scale": ([0.75, 1.5], "train"),
        "dataset.augment.flip": (0.0, "train"),
        "dataset.augment.jitter": (0.1, "train"),
        "dataset.seed": (7, "train"),
    },
    "dataset=torchvision dataset.root=CITYSCAPES dataset.name=Cityscapes dataset.size_hw=[32,32]": {
        **CROPS,
        **FILES,
        "dataset.name": ("SBDataset", REFUSED),  # the other two are not there
        "dataset.download": (True, NOTHING),
        "dataset.args": ({"mode": "fine"}, NOTHING),  # as without
        "dataset.select_fraction": (0.5, "train"),
        "dataset.exif": ("apply", NOTHING),  # the files have no such tag
        "dataset.crop_hw": ([16, 16], "train"),
        "dataset.size_hw": ([32, 48], "train"),
    },
    "dataset=torchvision dataset.root=CITYSCAPES dataset.name=Cityscapes dataset.select_fraction=0.5": {
        "dataset.select_seed": (1, "train"),
    },
    "dataset=folder dataset.root=FOLDER dataset.classes=[a,b] ROLES": {
        **CROPS,
        **FILES,
        "dataset.name": ("mine", "train"),
        "dataset.report_split": ("test", "eval"),
        "dataset.pairs": (3, REFUSED),  # a file that is there touches all: tests/dataset/test_folder.py
        "dataset.fit.images": ("other/images", "train"),
        "dataset.fit.masks": ("other/masks", "train"),
        "dataset.fit.only": (["0"], "train"),
        "dataset.fit.list": (3, REFUSED),  # it has to be there
        "dataset.select.only": (["0"], "train"),
        "dataset.select.list": (3, REFUSED),
        "dataset.report.only": (["0"], "eval"),
        "dataset.report.list": (3, REFUSED),
        "dataset.select.images": ("other/images", "train"),
        "dataset.select.masks": ("other/masks", "train"),
        "dataset.report.images": ("other/images", "eval"),
        "dataset.report.masks": ("other/masks", "eval"),
        "dataset.image_suffix": (".bmp", "train"),
        "dataset.mask_suffix": (".bmp", "train"),
        "dataset.classes": (["a", "c"], "train"),
        "dataset.palette": ([[1, 2, 3], [4, 5, 6]], "eval"),  # of its figures
        "dataset.ignore_index": (254, "train"),
        "dataset.values": ({0: 1, 1: 0}, "train"),
        "dataset.colours": ({"a": [0, 0, 0], "b": [1, 1, 1]}, "train"),
        "dataset.exif": ("apply", NOTHING),  # the files have no such tag
        "dataset.bands": (0, REFUSED),  # the files have three
        "dataset.crop_hw": ([16, 16], "train"),
        "dataset.allow_absent": (["a"], NOTHING),
        "dataset.size_hw": ([32, 48], "train"),
    },
    "dataset=folder dataset.root=FOLDER dataset.classes=[a,b] ROLES "
    "dataset.mean=[0.5,0.5,0.5] dataset.std=[1,1,1]": {
        "dataset.mean": ([0.4, 0.5, 0.5], "train"),
        "dataset.std": ([1, 1, 0.5], "train"),
    },
    "loss=focal": {"loss.focus": (1.0, "train")},
    "loss=ohem": {"loss.threshold": (0.9, "train"), "loss.least": (0.1, "train")},
    "loss=ce_dice": {"loss.dice": (0.5, "train")},
    (
        "dataset=folder dataset.root=FOLDER dataset.classes=[a,b] dataset.image_suffix=.png dataset.select=null "
        "dataset.fit={images:other/images,masks:other/masks} dataset.split=[0.34,0,0.66]"
    ): {
        "dataset.select": ({"images": "select/images", "masks": "select/masks"}, "train"),
        "dataset.split": ([0.67, 0, 0.33], "train"),
        "dataset.split_seed": (2, "train"),
    },
    "model=unet": {
        "model.width": (6, "train"),
        "model.max_width": (12, "train"),
        "model.depth": (3, "train"),
        "model.convs_per_level": (2, "train"),
        "model.upsample": ("transposed", "train"),
    },
    "model=simple_segnet": {
        "model.width": (6, "train"),
        "model.max_width": (12, "train"),
        "model.depth": (3, "train"),
        "model.convs_per_level": (2, "train"),
    },
    "model=resnet50_seg": RESNET,
    "model=resnet101_seg": RESNET,
    "model=fcn_resnet50": TORCHVISION,
    "model=fcn_resnet101": TORCHVISION,
    "model=deeplabv3_resnet50": TORCHVISION,
    "model=deeplabv3_resnet101": TORCHVISION,
    "model=lite0_fpn": {"model.width": (32, "train"), "model.weights": ("none", "train")},
    "train=short": schedule("train", "train"),
    "train=standard": schedule("train", "train"),
    "train=sgd_poly": schedule("train", "train", optimizer="adamw"),
    "finetune=none": {
        # what no epoch reads
        **schedule("finetune", NOTHING),
        "finetune.epochs": (3, "finetune"),
    },
    "finetune=short": schedule("finetune", "finetune"),
    "finetune=standard": schedule("finetune", "finetune"),
    "finetune=long": schedule("finetune", "finetune"),
    "distill=none": {"distill.match": ("compute", NOTHING)},
    "distill=kd": LOSS,
    "distill=kd teacher.checkpoint=FIRST": {
        "teacher.checkpoint": ("SECOND", "finetune"),
        "teacher.teaches": (["train", "finetune"], "train"),
    },
    "distill=kd dataset.augment.crop_area=null dataset.augment.flip=0 dataset.augment.jitter=0": {
        "teacher.cache_logits": (True, "finetune"),
    },
    "distill=kd teacher.checkpoint=FIRST train.epochs=4": {"teacher.checkpoint": ("COPY", NOTHING)},
    "distill=cwd": LOSS,
    "distill=self": LOSS,
    "distill=kd_feature": {
        **LOSS,
        "distill.feature_weight": (1.4, "finetune"),
        "distill.places": (["classifier"], "finetune"),
    },
    "pruner=taylor": {"pruner.variant": ("gamma", "prune")},
    "pruner=fgp": {"pruner.gradient": ("elementwise", "prune")},
    "pruner=fpgm": {"pruner.norm_mix": (0.1, "prune"), "pruner.normalize": ("mean", "prune")},
    "pruner=group_l2": {"pruner.normalize": ("none", "prune")},
    "pruner=l1": {"pruner.normalize": ("mean", "prune")},
    "pruner=l2": {"pruner.normalize": ("mean", "prune")},
    "pruner=sirfp": {
        "pruner.similarity": ("cosine", "prune"),
        "pruner.self_term": (False, "prune"),
        "pruner.normalize": ("alive", "prune"),
        "pruner.edge_weight": (0.0, "prune"),
        "pruner.edge_layers": ([""], "prune"),
        "pruner.pool": (17, "prune"),
        "pruner.join": ("mean", "prune"),
    },
    "pruner=sirfp_paper": {
        "pruner.similarity": ("l1", "prune"),
        "pruner.self_term": (True, "prune"),
        "pruner.normalize": ("none", "prune"),
        "pruner.edge_weight": (0.4, "prune"),
        "pruner.edge_layers": ([""], "prune"),
        "pruner.pool": (17, "prune"),
        "pruner.join": ("max", "prune"),
    },
    "pruner=slimming": {
        **phase(optimizer="adamw"),
        "pruner.phase.penalty": (0.01, "prepare"),
        # all budgets share a phase that does not look at them
        "ratio": (0.4, "prune"),
        "budget.of": ("macs", "prune"),
        "calibration.images": (3, "prune"),
    },
    "pruner=cap": {
        **phase(optimizer="adamw"),
        **WATCHED,
        "pruner.phase.penalty": (0.01, "prepare"),
        "pruner.phase.memory": (0.5, "prepare"),
        "pruner.phase.softening": (0.2, "prepare"),
        "pruner.phase.pool": (9, "prepare"),
    },
    "pruner=dmcp": {
        **phase(),
        **WATCHED,
        "pruner.phase.chunks": (5, "prepare"),
        "pruner.phase.start": (2.0, "prepare"),
        "pruner.phase.gate_lr": (0.1, "prepare"),
        "pruner.phase.gates_from": (0.25, "prepare"),
        "pruner.phase.budget_weight": (0.2, "prepare"),
        "pruner.phase.sampled": (1, "prepare"),
        "pruner.phase.order": ("index", "prepare"),
        # it learns widths for the budget
        "ratio": (0.4, "prepare"),
        "budget.of": ("macs", "prepare"),
        "calibration.images": (3, "prepare"),
        "init": ("scratch", "prune"),
    },
    "budget=channels": {**RATIO_BUDGET, "budget.of": ("params", "prune")},
    "budget=macs": {**RATIO_BUDGET, "budget.of": ("params", "prune")},
    "budget=params": {**RATIO_BUDGET, "budget.of": ("macs", "prune")},
    "budget=latency": {
        **BUDGET,
        "budget.scope": ("local", "prune"),
        "budget.round_to": (4, "prune"),
        "budget.runtime": ("eager", "prune"),
        "budget.tolerance": (0.5, "prune"),
        "budget.clock": ("wall", "prune"),
        "budget.rounds": (3, "prune"),
        "budget.max_cuts": (5, "prune"),
        "budget.macs_ratio": (0.4, "prune"),
    },
    "budget=threshold": {**BUDGET, "budget.threshold": (0.02, "prune")},
    "eval=standard": {
        "eval.batch_size": (2, NOTHING),
        "eval.boundary_width": (0.05, "eval"),
        "eval.small_object_area": (0.01, "eval"),
        "eval.hd95": (True, "eval"),
        "eval.latency_batch_size": (2, "eval"),
        "eval.latency_rounds": (3, "eval"),
        "eval.latency_warmup": (1, "eval"),
        "eval.latency_clock": ("cpu", "eval"),
        "eval.runtimes": (["eager"], "eval"),
        "eval.overlay_images": (0, "eval"),
        "eval.tile": ([16, 32], "train"),  # the select role is evaluated likewise
        "eval.overlap": (0.5, "eval"),
        "eval.flips": (True, "train"),
        "eval.scales": ([0.5, 1.0], "train"),
        "eval.oracle.samples": (4, "eval"),
        # how an oracle that is not asked for would work
        "eval.oracle.images": (3, NOTHING),
        "eval.oracle.batch_size": (2, NOTHING),
        "eval.oracle.copies": (2, NOTHING),
        "eval.oracle.loss": (DICE, NOTHING),
    },
    "eval=standard eval.oracle.samples=2": {
        "eval.oracle.images": (3, "eval"),
        "eval.oracle.batch_size": (2, "eval"),
        "eval.oracle.copies": (2, NOTHING),
        "eval.oracle.loss": (DICE, "eval"),
    },
    "tracking=mlflow": {
        "tracking.uri": ("http://127.0.0.1:5000", NOTHING),
        "tracking.root": ("elsewhere", NOTHING),
        "tracking.experiment": ("other", NOTHING),
        "tracking.flush_seconds": (1, NOTHING),
    },
}
TWINS = {
    "train=standard": "train=short",
    "train=sgd_poly": "train=short",
    "finetune=standard": "finetune=short",
    "finetune=long": "finetune=short",
    "pruner=sirfp_paper": "pruner=sirfp",
    "budget=macs": "budget=channels",
    "budget=params": "budget=channels",
}
"""Option -> another one of the same class and with the same keys, each of which is changed alone there."""
