"""Where a run computes: the device and the GPUs that its configuration asks for."""

import logging

import torch

from segprune.config.compose import Settings
from segprune.errors import ConfigError
from segprune.gpu import about, device_of
from segprune.training.step import Hardware

log = logging.getLogger(__name__)


def hardware_of(settings: Settings) -> Hardware:
    """The device, with torch's threads set; data is not read yet, so no processes load it.

    Raises:
        ConfigError: The device does not exist here, or there are not so many GPUs.
    """
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    device = device_of(settings.device)
    log.info("%s", about(device, settings.device))
    _refuse_gpus(settings, device)
    # the data decides on the processes, see ``context_of``
    return Hardware(device=device, workers=0, gpus=settings.gpus)


def _refuse_gpus(settings: Settings, device: torch.device) -> None:
    gpus, asked = settings.gpus, settings.device
    if gpus == 1:
        return
    if device.type == "cpu":
        if asked != "cpu":
            raise ConfigError(
                f"gpus is {gpus}, but there is no GPU here that torch can use. Give gpus=1; device=cpu has as many "
                "processes share the cores, which is slower than one and only shows what GPUs would do."
            )
        log.info("%d processes train together and share the cores of the CPU", gpus)
        return
    there = torch.cuda.device_count()
    if asked not in ("auto", "cuda"):
        raise ConfigError(
            f"gpus is {gpus}, but device is {asked!r}, which is one GPU. Give device=cuda, and choose the GPUs by "
            "CUDA_VISIBLE_DEVICES; or gpus=1."
        )
    if gpus > there:
        raise ConfigError(
            f"gpus is {gpus}, but this process can use {there} GPU{'s' if there > 1 else ''}. Give gpus={there}; "
            "in a sweep, let each job have more (hydra.launcher.gpus)."
        )
    if device.index:
        raise ConfigError(
            f"gpus is {gpus}, and they are counted from the first one, but the current GPU is number "
            f"{device.index}. Choose the GPUs by CUDA_VISIBLE_DEVICES."
        )
