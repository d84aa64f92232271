"""First-order estimate of the squared change of the loss when a channel is removed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from segprune.errors import DataError
from segprune.graph.group import ChannelGroup, Scores
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration, Needs, Scope
from segprune.pruner.gates import Gate, Variant, find_gates, scaled_norms
from segprune.pruner.gather import checked, root_sum
from segprune.pruner.scoring_mode import scoring_mode


@dataclass(frozen=True, kw_only=True)
class Taylor:
    """Square of the derivative of the loss by a gate on the channel, per batch, then the mean over batches.

    Attributes:
        variant: ``gate``: the gate is behind the batch norm (scale * its gradient + shift * its gradient),
            for a layer without one behind the layer; ``gamma``: the norm's shift is left out.

    Source: Taylor-FO-BN, arXiv:1906.10771, as its official code computes the gates (method 22); ``gamma`` is what
        that code computes for norm weights (method 31). Differs: eval mode and no training in
        between, so no momentum; no factor for skip connections; the derivatives of all layers that make a channel
        (a residual stream) are added with their signs before the square, as one shared gate would do.
    """

    variant: Variant
    name: ClassVar[str] = "taylor"
    needs: ClassVar[Needs] = "gradients of the loss"
    scope: ClassVar[Scope] = "global"

    def __call__(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], calibration: Calibration
    ) -> Scores:
        """Group name -> (C,) float64 on CPU, not negative.

        Raises:
            ConfigError: No calibration batch, or a channel that no convolution makes.
            DataError: A batch, or all of them, say nothing about the channels: no pixel with a class.
            TrainingError: A gradient that is not finite.
        """
        calibration.require_batches(self.name)
        with scaled_norms(net):
            with scoring_mode(net, calibration.device, trainable=()):
                gates = find_gates(net, groups, calibration.batches[0].image[:1], self.variant)
            derivatives = self._derivatives(net, groups, gates, calibration)
        scores = checked({name: taylor_scores(values) for name, values in derivatives.items()})
        if groups and not any(score.any() for score in scores.values()):
            raise DataError(
                f"all gradients of {len(calibration.batches)} calibration batches are 0; taylor needs pixels "
                "with a class. Check the labels of the training split, or give more calibration images."
            )
        return scores

    def _derivatives(
        self,
        net: SegmentationNet,
        groups: Sequence[ChannelGroup],
        gates: Mapping[str, tuple[Gate, ...]],
        calibration: Calibration,
    ) -> dict[str, Tensor]:
        """Group name -> (B, C) float64: per batch, the signed sum over the group's gates."""
        parameters = {p: None for found in gates.values() for gate in found for p in gate.parameters()}
        rows: dict[str, list[Tensor]] = {group.name: [] for group in groups}
        with scoring_mode(net, calibration.device, trainable=tuple(parameters)):
            for index in range(len(calibration.batches)):
                gradient = _gradient(net, calibration, index, tuple(parameters))
                for group in groups:
                    terms = [
                        root_sum(gate.derivative(gradient, self.variant), gate.member, group.size)
                        for gate in gates[group.name]
                    ]
                    rows[group.name].append(torch.stack(terms).sum(0))
        return {name: torch.stack(row) for name, row in rows.items()}


def taylor_scores(derivatives: Tensor) -> Tensor:
    """(B, C) signed derivatives per batch -> (C,) mean of their squares, so that signs do not cancel out."""
    return derivatives.square().mean(dim=0)


def _gradient(
    net: SegmentationNet, calibration: Calibration, index: int, parameters: Sequence[nn.Parameter]
) -> dict[nn.Parameter, Tensor]:
    """Gradient of the loss of one batch by the parameters; their ``grad`` is not touched."""
    loss = calibration.loss(net, calibration.batches[index])
    if not loss.isfinite():
        raise DataError(
            f"the loss of calibration batch {index} is {loss.item()}: no pixel of its labels has a class, or "
            "the network's weights are not finite. Use larger batches, or leave out images without labels."
        )
    if not loss.requires_grad:
        return {parameter: torch.zeros_like(parameter) for parameter in parameters}
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return dict(zip(parameters, gradients, strict=True))
