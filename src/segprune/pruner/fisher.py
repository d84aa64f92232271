"""Second-order estimate of the change of the loss when a channel's parameters are removed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from segprune.dataset.contract import Batch
from segprune.errors import DataError
from segprune.graph.group import ChannelGroup, Member, Scores
from segprune.graph.layers import Conv
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration, Needs, Scope
from segprune.pruner.gather import SCALING, checked, filter_rows, root_sum
from segprune.pruner.scoring_mode import scoring_mode


@dataclass(frozen=True, kw_only=True)
class Fisher:
    """Half the sum, over the parameters that give the channel, of squared weight times mean squared gradient.

    Those parameters are the filters that make the channel, depthwise ones that pass it on, their biases, and
    the scales and shifts of its norms. Gradients are squared image by image, since in the mean over a batch
    most of them cancel out.

    Source: Optimal Brain Damage (LeCun et al., 1989), 1/2 h w^2 with the diagonal h of the Hessian. Differs: h
        is the empirical Fisher information, from the labels given, which is not the Hessian and only ranks;
        parameters of one channel add up as if they were independent.
    """

    name: ClassVar[str] = "fisher"
    needs: ClassVar[Needs] = "gradients of the loss"
    scope: ClassVar[Scope] = "global"

    def __call__(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], calibration: Calibration
    ) -> Scores:
        """Group name -> (C,) float64 on CPU, not negative.

        Raises:
            ConfigError: No calibration batch.
            DataError: An image, or all of them, say nothing about the channels: no pixel with a class.
            TrainingError: A gradient that is not finite.
        """
        calibration.require_batches(self.name)
        parameters = {
            parameter: None
            for group in groups
            for _, layer in _carriers(net, group)
            for parameter in layer.parameters(recurse=False)
        }
        with scoring_mode(net, calibration.device, trainable=tuple(parameters)):
            information = _information(net, calibration, tuple(parameters))
        scores = checked({group.name: _score(net, group, information) for group in groups})
        if groups and not any(score.any() for score in scores.values()):
            raise DataError(
                f"all gradients of {len(calibration.batches)} calibration batches are 0; fisher needs pixels "
                "with a class. Check the labels of the training split, or give more calibration images."
            )
        return scores


def _carriers(net: SegmentationNet, group: ChannelGroup) -> list[tuple[Member, nn.Module]]:
    """The layers with parameters that make the channels or pass them on."""
    pairs = [(member, net.get_submodule(member.layer)) for member in group.members if member.axis == "out"]
    return [(member, layer) for member, layer in pairs if isinstance(layer, (Conv, nn.Linear, *SCALING))]


def _information(
    net: SegmentationNet, calibration: Calibration, parameters: Sequence[nn.Parameter]
) -> dict[nn.Parameter, Tensor]:
    """Parameter -> mean over the images of the squared gradient of the image's loss, in the parameter's shape."""
    squares = {parameter: torch.zeros_like(parameter) for parameter in parameters}
    count = 0
    for index, batch in enumerate(calibration.batches):
        for image, label in zip(batch.image, batch.label, strict=True):
            loss = calibration.loss(net, Batch(image[None], label[None]))
            count += 1
            if not loss.isfinite():
                raise DataError(
                    f"the loss of an image of calibration batch {index} is {loss.item()}: no pixel of its label "
                    "has a class, or the network's weights are not finite. Leave out images without labels."
                )
            if not loss.requires_grad:
                continue
            found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
            for parameter, gradient in zip(parameters, found, strict=True):
                squares[parameter] += gradient.square()
    return {parameter: square / count for parameter, square in squares.items()}


def _score(net: SegmentationNet, group: ChannelGroup, information: Mapping[nn.Parameter, Tensor]) -> Tensor:
    """(C,) float64 CPU."""
    total = torch.zeros(group.size, dtype=torch.float64)
    for member, layer in _carriers(net, group):
        for parameter in layer.parameters(recurse=False):
            change = 0.5 * parameter.detach().double().square() * information[parameter].double()
            # a bias, a scale and a shift have one value per position
            per_position = change.cpu() if change.dim() == 1 else filter_rows(layer, change).sum(1)
            total += root_sum(per_position, member, group.size)
    return total
