"""The calibration set: which training images score the channels and re-estimate the BN statistics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from segprune.dataset.contract import Batch
from segprune.dataset.loading import HostBatches, calibration_batches
from segprune.loss.contract import Loss
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration
from segprune.seed import derive
from segprune.stage.contract import Context
from segprune.training.loss import calibration_loss


@dataclass(frozen=True, kw_only=True)
class CalibrationSet:
    """Labelled training images, drawn once and the same for every method.

    Attributes:
        images: How many, drawn without replacement; all when there are fewer.
        batch_size: Images per batch; criteria that square per-batch gradients depend on it.
    """

    images: Annotated[int, Field(ge=2)]
    batch_size: Annotated[int, Field(ge=2)]

    def calibration(
        self, ctx: Context, loss: Loss, aux_weight: float, *, with_images: bool = True
    ) -> Calibration:
        """The images, for the device, with the loss that gradients come from.

        Args:
            ctx: The run.
            loss: Of each head.
            aux_weight: Weight of auxiliary heads in the loss.
            with_images: Whether the images are needed; they take memory.
        """
        device = ctx.hardware.device
        drawn = (
            calibration_batches(
                ctx.data.calibration,
                count=self.images,
                batch_size=self.batch_size,
                seed=derive(ctx.seed, "calibration"),
            )
            if with_images
            else ()
        )
        return Calibration(
            batches=HostBatches(drawn, device),
            loss=calibration_loss(loss, ignore_index=ctx.data.ignore_index, aux_weight=aux_weight),
            device=device,
            seed=derive(ctx.seed, "pruner"),
        )


@torch.no_grad()
def reestimate_batchnorm(net: SegmentationNet, batches: Sequence[Batch]) -> None:
    """Set BN running statistics, in place, to their averages over the batches; no weight changes.

    Only BN layers run in training mode, so dropout stays off. Batches have at least two images, since a BN
    over 1x1 maps has no variance otherwise.
    """
    norms = [
        m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats
    ]
    momenta = [norm.momentum for norm in norms]
    net.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average: every batch counts the same
        norm.train()
    for batch in batches:
        net.all_logits(batch.image)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    net.eval()


def buffers_of(net: nn.Module) -> Mapping[str, Tensor]:
    """Everything in the state dict that is not a parameter, copied to the CPU: the BN statistics."""
    parameters = dict(net.named_parameters())
    return {k: v.detach().cpu().clone() for k, v in net.state_dict().items() if k not in parameters}
