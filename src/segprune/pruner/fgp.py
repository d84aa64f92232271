"""Channels whose features, weighted by their gradients, support the classes."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segprune.dataset.contract import Batch
from segprune.errors import DataError
from segprune.graph.group import ChannelGroup, Member, Scores
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration, Needs, Scope
from segprune.pruner.gather import checked, covered, map_layers, of_running, refuse_unscored, root_sum
from segprune.pruner.mapped import unmapped
from segprune.pruner.scoring_mode import scoring_mode

Gradient = Literal["mean", "elementwise"]


@dataclass(frozen=True, kw_only=True)
class Fgp:
    """Share of a group's class support that a channel and all channels with less support have together.

    Support of a class is ReLU(gradient * feature), averaged over the pixels of the map; the gradient is that of
    the class's logits summed over the pixels labelled with it. It is averaged over the images in which the
    class occurs, then over the classes that occur. Features are taken behind the batch norms, before the
    activation (behind it where both are one layer); in a group without a norm, behind its convolutions. Both are
    choices made here.

    The paper keeps the channels above 1 - T: in every group the smallest set of best channels with the share T of
    the support. A global ranking therefore finds T from the budget; a local one takes the
    same fraction of every group, by support.

    Attributes:
        gradient: ``mean``: over the pixels of the map, as in Grad-CAM; ``elementwise``: pixel by pixel.

    Source: FGP, arXiv:2411.12781, from its description; its official code does not run. Differs: T follows from
        the budget (0.8 in the code); maps are neither enlarged nor scaled one by one; in a group with several
        norms (a residual stream) the shares of each add up, where the paper couples no channels.
    """

    gradient: Gradient
    name: ClassVar[str] = "fgp"
    needs: ClassVar[Needs] = "gradients"
    scope: ClassVar[Scope] = "global"

    def unscored(self, net: SegmentationNet, groups: Sequence[ChannelGroup], image: Tensor) -> dict[str, str]:
        """Groups with channels that are in no feature map -> why."""
        return unmapped(net, groups, image)

    def __call__(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], calibration: Calibration
    ) -> Scores:
        """Group name -> (C,) float64 on CPU, in [0, 1].

        Raises:
            ConfigError: No calibration batch, or a channel that is in no feature map.
            DataError: No pixel of the calibration images has a class.
            TrainingError: A feature map or a gradient that is not finite.
        """
        calibration.require_batches(self.name)
        if not groups:
            return {}
        refuse_unscored(self.name, self.unscored(net, groups, calibration.batches[0].image[:1]))
        places = {group.name: map_layers(net, group) for group in groups}
        layers = {member.layer: layer for pairs in places.values() for member, layer in pairs}
        with scoring_mode(net, calibration.device, trainable=()):
            support = self._support(net, layers, calibration.batches)
        scores = {}
        for group in groups:
            views = of_running(group, [member for member, _ in places[group.name]], support)
            shares = [_share(root_sum(value, member, group.size), member) for member, value in views]
            scores[group.name] = cumulative_share(torch.stack(shares).sum(0))
        return checked(scores)

    def _support(
        self, net: SegmentationNet, layers: Mapping[str, nn.Module], batches: Sequence[Batch]
    ) -> dict[str, Tensor]:
        """Layer that runs -> (C_layer,) float64 CPU, mean over the classes of means over their images."""
        images: Counter[int] = Counter()  # class -> images it occurs in
        sums: dict[str, dict[int, Tensor]] = defaultdict(dict)  # layer -> class -> (C_layer,)
        for batch in batches:
            for image, label in zip(batch.image, batch.label, strict=True):
                for index, triples in _class_gradients(net, layers, image[None], label):
                    images[index] += 1
                    for name, feature, gradient in triples:
                        value = class_support(feature, gradient, self.gradient)
                        sums[name][index] = sums[name][index] + value if index in sums[name] else value
        if not images:
            raise DataError(
                f"no pixel of the {len(batches)} calibration batches has a class; fgp needs labelled images. "
                "Check the labels of the training split, or give more calibration images."
            )
        return {
            name: torch.stack([total / images[index] for index, total in found.items()]).mean(0).cpu()
            for name, found in sums.items()
        }


def class_support(maps: Tensor, gradients: Tensor, kind: Gradient) -> Tensor:
    """(1, C, H, W) features and gradients by them -> (C,) float64, mean of ReLU(gradient * feature).

    It stays on the device: a look at it would wait for each class of each image.
    """
    weights = gradients.mean(dim=(2, 3), keepdim=True) if kind == "mean" else gradients
    return (weights * maps).relu().mean(dim=(0, 2, 3)).double()


def cumulative_share(support: Tensor) -> Tensor:
    """(C,) float64, not negative -> (C,) share of the sum in the channel and all lower ones; all 0 stays 0.

    The best channel has 1; channels of support 0 have 0. Of equal channels the first one counts as the lower.
    """
    order = torch.argsort(support, stable=True)
    total = support[order].cumsum(0)
    scores = torch.empty_like(support)
    scores[order] = total if total[-1] == 0 else total / total[-1]
    return scores


def _share(support: Tensor, member: Member) -> Tensor:
    """(C,) support in one layer -> its shares; they sum to the fraction of the channels that the layer carries."""
    total, size = support.sum(), len(support)
    return support if total == 0 else support / total * covered(member, size).sum() / size


def _class_gradients(
    net: SegmentationNet, layers: Mapping[str, nn.Module], image: Tensor, label: Tensor
) -> Iterator[tuple[int, list[tuple[str, Tensor, Tensor]]]]:
    """Per class labelled in an image (1, 3, H, W): its index; layer, feature and gradient wherever a layer ran."""
    kept: list[tuple[str, Tensor]] = []
    with ExitStack() as hooks, torch.enable_grad():
        for name, layer in layers.items():
            hooks.enter_context(layer.register_forward_hook(partial(_keep, kept, name)))
        logits = net.all_logits(image)[0]
        if logits.shape[2:] != label.shape:
            logits = F.interpolate(logits, size=label.shape, mode="bilinear", align_corners=False)
        is_there = torch.stack(
            [(label == k).any() for k in range(logits.shape[1])]
        ).tolist()  # one look, not K
        scores = {
            k: torch.where(label == k, logits[0, k], 0).sum() for k, there in enumerate(is_there) if there
        }
    features = [feature for _, feature in kept]
    for index, score in scores.items():
        gradients = torch.autograd.grad(
            score, features, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        yield index, [(name, f.detach(), g) for (name, f), g in zip(kept, gradients, strict=True)]


def _keep(
    kept: list[tuple[str, Tensor]], name: str, _layer: nn.Module, _inputs: object, output: Tensor
) -> Tensor:
    """The network goes on with a copy: an activation in place would change the feature and its gradient."""
    if not output.requires_grad:  # the graph starts here, as no kept layer comes before it
        output.requires_grad_()
    kept.append((name, output))
    return output.clone()
