"""Whether a distillation loss has somebody to teach."""

from segprune.config.component import component
from segprune.config.compose import Job, Settings
from segprune.distill.contract import Loss
from segprune.errors import ConfigError


def refuse_nobody_to_teach(settings: Settings, job: Job) -> None:
    """Check the loss, and that a stage of the run learns by it.

    Raises:
        ConfigError: An argument of the loss is wrong, its target makes no loss, or no stage learns by it.
    """
    loss = component(settings.distill, "distill", extensions=settings.extensions)()
    if loss is not None and not isinstance(loss, Loss):
        raise ConfigError(
            f"distill._target_ is {settings.distill['_target_']!r}, which makes no distillation loss; name a "
            f"class that inherits from {Loss.__module__}.{Loss.__qualname__}."
        )
    teaches, words = settings.teacher.teaches, settings.stages
    can_learn = [word for word, node in settings.stage.items() if "step" in node]
    if unknown := [word for word in teaches if word not in can_learn]:
        raise ConfigError(
            f"teacher.teaches is {teaches}, but {', '.join(unknown)} cannot be taught. Allowed are "
            f"{', '.join(can_learn)}."
        )
    if loss is None:
        return
    option, taught = job.choices["distill"], [word for word in teaches if word in words]
    if not taught:
        raise ConfigError(
            f"distill={option} teaches {', '.join(teaches)}, but stages is {words}, so nothing "
            f"would be taught. Add {teaches[0]} to stages, or give distill=none. To teach a training from scratch, "
            "give 'teacher.teaches=[train]' and teacher.checkpoint=<folder of a checkpoint>."
        )
    steps = {f"stage.{word}.step": settings.stage[word]["step"] or {} for word in taught}
    if not any(settings.distill in step.values() for step in steps.values()):
        found = " and ".join(f"{key} is {step.get('_target_', 'null')}" for key, step in steps.items())
        raise ConfigError(
            f"distill={option} is the loss of a teacher, but {found}, which does not have it, so nothing would be "
            f"taught. Leave {' and '.join(steps)} out of the command, or give distill=none."
        )
