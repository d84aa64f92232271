"""The data of the figures: one table each, which is also written as CSV beside the picture."""

from collections.abc import Sequence

import pandas as pd

from segprune.config.protocol import UNTAUGHT
from segprune.report.collect import JobData, SweepData
from segprune.report.teaching import base, teaching_of
from segprune.report.verdict import final_rows
from segprune.result.parts import parts_of

_CUT = ("method", "pruner", "option", "ratio_asked", "seed")
_TRAININGS = ("train", "prepare", "finetune")
_DETAILS = {
    "miou_percent": "mIoU",
    "boundary_iou_percent": "boundary IoU",
    "small_object_recall_percent": "small-object recall",
}


def retention(data: SweepData, setting: str, option: str) -> pd.DataFrame:
    """How much of mIoU every cut network keeps, right after the cut with BN re-estimated, and in the end.

    Returns:
        ``method``, ``pruner``, ``option``, ``ratio_asked``, ``seed``, ``stage``, ``ratio_reached_percent``,
        ``macs_removed_percent``, ``kept_percent`` of the dense network's mIoU.
    """
    rows = data.rows[(data.rows["setting"] == setting) & (data.rows["option"] == option)]
    rows = rows[rows["stage"].isin(["pruned", "finetuned"])]
    return rows[[*_CUT, "stage"]].assign(
        ratio_reached_percent=100 * rows["ratio_reached"].astype(float),
        macs_removed_percent=100 * (1 - rows["macs_kept"].astype(float)),
        kept_percent=100 * rows["miou_retention"].astype(float),
    )


def details(data: SweepData, setting: str, option: str) -> pd.DataFrame:
    """How much the last networks keep of mIoU, and of borders and small objects, which suffer first.

    Returns:
        ``method``, ``pruner``, ``option``, ``ratio_asked``, ``seed``, ``measure``, ``ratio_reached_percent``,
        ``dense_percent``, ``percent``, and ``kept_percent`` of the dense network's; nan where that is 0.
    """
    rows = final_rows(data)
    rows = rows[(rows["setting"] == setting) & (rows["option"] == option)]
    first = data.rows.drop_duplicates("number").set_index("number")
    parts = []
    for column, measure in _DETAILS.items():
        dense, last = rows["number"].map(first[column].astype(float)), rows[column].astype(float)
        parts.append(
            rows[list(_CUT)].assign(
                measure=measure,
                ratio_reached_percent=100 * rows["ratio_reached"].astype(float),
                dense_percent=dense,
                percent=last,
                kept_percent=(100 * last / dense).where(dense > 0),
            )
        )
    return pd.concat(parts, ignore_index=True)


def costs(data: SweepData, setting: str) -> pd.DataFrame:
    """Quality and cost of the last networks and the dense ones, as means over the seeds.

    Returns:
        ``method`` (``dense`` for the dense ones), ``pruner``, ``option``, ``ratio_asked``, ``seeds``,
        ``miou_percent``, ``gmacs``, ``mparams``, ``latency_ms``, and ``latency_percent`` of the dense network's,
        timed in turns with it: the jobs themselves may have run under different loads.
    """
    rows = pd.concat([final_rows(data), data.rows[data.rows["stage"].isin(["dense", "start"])]])
    rows = rows[rows["setting"] == setting]
    numbers = rows.assign(
        gmacs=rows["macs"] / 1e9,
        mparams=rows["params"] / 1e6,
        latency_ms=rows["latency_ms_median"].astype(float),
        latency_percent=100 / rows["speedup"].astype(float),
    )
    columns = ["miou_percent", "gmacs", "mparams", "latency_ms", "latency_percent"]
    by = [key for key in _CUT if key != "seed"]
    seeds = numbers.groupby([*by, "seed"], dropna=False)[columns].mean().reset_index()
    table = seeds.groupby(by, dropna=False).agg(
        seeds=("seed", "count"), **{name: (name, "mean") for name in columns}
    )
    return table.reset_index()


def speeds(data: SweepData, setting: str) -> pd.DataFrame:
    """How much faster the last networks are, counted in MACs and measured, as means over the seeds.

    Returns:
        ``method``, ``pruner``, ``option``, ``ratio_asked``, ``seeds``, ``macs_speedup``, ``speedup``, its standard
        deviation ``speedup_sd``, ``realisation_efficiency``.
    """
    rows = final_rows(data)
    rows = rows[(rows["setting"] == setting) & rows["speedup"].notna()]
    numbers = rows.astype({"speedup": float, "realisation_efficiency": float}).assign(
        macs_speedup=1 / rows["macs_kept"].astype(float)
    )
    table = numbers.groupby([key for key in _CUT if key != "seed"], dropna=False).agg(
        seeds=("seed", "count"),
        macs_speedup=("macs_speedup", "mean"),
        speedup=("speedup", "mean"),
        speedup_sd=("speedup", "std"),
        realisation_efficiency=("realisation_efficiency", "mean"),
    )
    return table.reset_index()


def layers(job: JobData) -> pd.DataFrame | None:
    """``layer``, ``part``, ``channels``, ``kept``, ``removed`` of one job's cut, in the network's order."""
    plan = job.entries.plan()
    if plan is None:
        return None
    table = pd.DataFrame(plan["layers"], columns=["layer", "channels", "kept"])
    table.insert(1, "part", parts_of([str(name) for name in table["layer"]]))
    return table.assign(removed=table["channels"] - table["kept"])


def scores(job: JobData) -> pd.DataFrame | None:
    """``layer``, ``channel``, ``score``, ``is_kept`` of one job's cut."""
    plan, found = job.entries.plan(), job.entries.scores()
    if plan is None or found is None:
        return None
    parts = []
    for layer in (line["layer"] for line in plan["layers"] if line["layer"] in found):
        values = found[layer]
        part = pd.DataFrame({"layer": layer, "channel": range(len(values)), "score": values.astype(float)})
        parts.append(part.assign(is_kept=~part["channel"].isin(plan["plan"].get(layer, ()))))
    return pd.concat(parts, ignore_index=True) if parts else None


def curves(data: SweepData, setting: str) -> pd.DataFrame:
    """Learning curves; a training that jobs share occurs once.

    Returns:
        ``stage``, ``method`` (``dense`` for training), ``pruner``, ``option``, ``ratio_asked``, ``seed``, ``epoch``
        from 1, ``loss``, ``select_miou_percent``.
    """
    parts, seen = [], set()
    for job in data.jobs:
        for stage in _TRAININGS:
            name, curve = job.entries.names.get(stage), job.entries.curve(stage)
            if job.setting != setting or curve is None or name in seen:
                continue
            seen.add(name)
            is_cut = stage != "train" and any(row.pruner for row in job.outcome.rows)
            about = {
                "stage": stage,
                "method": job.method if is_cut else "dense",
                "pruner": job.outcome.pruner if is_cut else None,
                "option": job.outcome.budget if is_cut else None,
                "ratio_asked": job.outcome.ratio if is_cut else None,
                "seed": job.outcome.seed,
            }
            parts.append(curve.assign(**about, epoch=curve["epoch"] + 1))
    columns = ["stage", *_CUT, "epoch", "loss", "select_miou_percent"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def taught_curves(data: SweepData, setting: str) -> pd.DataFrame:
    """Learning curves of the finetunings with and without a teacher.

    Args:
        data: The sweep.
        setting: See ``teaching.base``.

    Returns:
        As ``curves``, with a column ``teaching``.
    """
    parts = []
    for name in dict.fromkeys(job.setting for job in data.jobs if base(job) == setting):
        teaching = next(teaching_of(job) for job in data.jobs if job.setting == name)
        table = curves(data, name)
        table = table[table["stage"] == "finetune"]
        parts.append(table.assign(teaching=teaching))
    return pd.concat(parts, ignore_index=True)


def taught_classes(data: SweepData, setting: str, option: str) -> pd.DataFrame:
    """How much higher the IoU of each class is with a teacher than without, as means over the common seeds.

    Args:
        data: The sweep.
        setting: See ``teaching.base``.
        option: The chosen budget.

    Returns:
        ``ratio_asked``, ``method`` with its distillation, ``class``, ``seeds``, ``plain_iou_percent``,
        ``iou_percent``, ``change_points``; nan for a class that does not occur.
    """
    by = ["ratio_asked", "method", "seed", "class"]
    plain: list[pd.DataFrame] = []
    taught: list[pd.DataFrame] = []
    for name in dict.fromkeys(job.setting for job in data.jobs if base(job) == setting):
        for job in _cut_jobs(data, name, option):
            change = _class_change(job)
            if change is not None:
                teaching = teaching_of(job)
                (plain if teaching == UNTAUGHT else taught).append(change.assign(teaching=teaching))
    values = ["plain_iou_percent", "iou_percent", "change_points"]
    columns = ["ratio_asked", "method", "class", "seeds", *values]
    if not plain or not taught:
        return pd.DataFrame(columns=columns)
    without = pd.concat(plain).drop_duplicates(by).rename(columns={"iou_percent": "plain_iou_percent"})
    both = pd.concat(taught).merge(without[[*by, "plain_iou_percent"]], on=by)
    both = both.assign(
        method=[_with(*pair) for pair in zip(both["method"], both["teaching"], strict=True)],
        change_points=both["iou_percent"] - both["plain_iou_percent"],
    )
    grouped = both.groupby(["ratio_asked", "method", "class"], sort=False, dropna=False)
    return grouped.agg(seeds=("seed", "count"), **{name: (name, "mean") for name in values}).reset_index()


def _with(method: str, teaching: str) -> str:
    return method if teaching == UNTAUGHT else f"{method} {teaching}"


def class_changes(data: SweepData, setting: str, option: str) -> pd.DataFrame:
    """How the IoU of each class changed from the dense network to the last one, as means over the seeds.

    Returns:
        ``ratio_asked``, ``method``, ``class``, ``seeds``, ``dense_iou_percent``, ``iou_percent``,
        ``change_points``; nan for a class that does not occur.
    """
    parts = [_class_change(job) for job in _cut_jobs(data, setting, option)]
    found = [part for part in parts if part is not None]
    by = ["ratio_asked", "method", "class"]
    values = ["dense_iou_percent", "iou_percent", "change_points"]
    if not found:
        return pd.DataFrame(columns=[*by, "seeds", *values])
    grouped = pd.concat(found).groupby(by, sort=False, dropna=False)
    return grouped.agg(seeds=("seed", "count"), **{name: (name, "mean") for name in values}).reset_index()


def _class_change(job: JobData) -> pd.DataFrame | None:
    table, first, last = job.entries.per_class(), job.outcome.rows[0].stage, job.outcome.rows[-1].stage
    if table is None or not {first, last} <= set(table.columns):
        return None
    return pd.DataFrame(
        {
            "ratio_asked": job.outcome.ratio,
            "method": job.method,
            "seed": job.outcome.seed,
            "class": table.index,
            "dense_iou_percent": table[first].to_numpy(),
            "iou_percent": table[last].to_numpy(),
            "change_points": (table[last] - table[first]).to_numpy(),
        }
    )


def _cut_jobs(data: SweepData, setting: str, option: str) -> Sequence[JobData]:
    return [
        job
        for job in data.jobs
        if (job.setting, job.outcome.budget) == (setting, option)
        and job.outcome.is_finished
        and any(row.pruner is not None for row in job.outcome.rows)
    ]
