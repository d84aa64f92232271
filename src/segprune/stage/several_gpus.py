"""What several GPUs cannot train together, told before any work starts."""

from segprune.errors import ConfigError
from segprune.schedule.schedule import Schedule
from segprune.stage.contract import Context
from segprune.stage.dense import shell
from segprune.training.shared_norm import foreign_norms


def refuse_gpus(ctx: Context, key: str, schedule: Schedule, part: object) -> None:
    """Check that several GPUs can do a training together, if they shall.

    Args:
        ctx: The run.
        key: Of the schedule.
        schedule: With an epoch or more.
        part: What trains in its own way, such as a teacher or the phase of a criterion, if it says by an attribute
            ``works_on_several_gpus`` that it does; None: plain training, which does.

    Raises:
        ConfigError: They cannot.
    """
    gpus = ctx.hardware.gpus
    if gpus == 1:
        return
    if not (part is None or getattr(part, "works_on_several_gpus", False)):
        raise ConfigError(
            f"gpus is {gpus}, but {type(part).__module__}.{type(part).__name__}, which {key} is for, sees one part "
            "of a batch only and would learn something else on several GPUs. Give gpus=1 for this run; the network "
            "that it starts from can be trained with more (stages=[train]) and given as checkpoint."
        )
    if schedule.batch_size % gpus:
        less, more = schedule.batch_size // gpus * gpus, -(-schedule.batch_size // gpus) * gpus
        fitting = f"{less} or {more}" if less else str(more)
        raise ConfigError(
            f"{key}.batch_size is {schedule.batch_size}, of which {gpus} GPUs cannot have equal parts. Give "
            f"{key}.batch_size={fitting.replace(' or ', f' or {key}.batch_size=')}, or another number of gpus."
        )
    if schedule.compile:
        raise ConfigError(
            f"{key}.compile is true and gpus is {gpus}; a compiled network cannot share its batch statistics. Give "
            f"{key}.compile=false, or gpus=1."
        )
    if foreign := foreign_norms(shell(ctx)):
        raise ConfigError(
            f"gpus is {gpus}, but the network has batch norms of the kind {', '.join(foreign)}, whose statistics "
            "GPUs cannot share. Give gpus=1."
        )
