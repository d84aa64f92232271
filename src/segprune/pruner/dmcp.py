"""DMCP: widths learnt by gradient descent through Markov gates, together with weights that work at any width."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch import Tensor, nn

from segprune.dataset.contract import Batch
from segprune.errors import ConfigError
from segprune.graph.group import ChannelGroup, Scores
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration, Needs, Prepared, Scope, Target
from segprune.pruner.gates import find_gates
from segprune.pruner.gather import checked
from segprune.pruner.markov import (
    chunk_of_rank,
    frozen_statistics,
    gated,
    keep_chances,
    sampled_chunks,
    shift_scores,
)
from segprune.pruner.sparse import refuse_schedule
from segprune.pruner.taylor import Taylor
from segprune.schedule.schedule import Schedule
from segprune.training.loop import fit
from segprune.training.step import Step, Training


@dataclass(frozen=True, kw_only=True)
class MarkovTraining:
    """Training of weights and gates by turns.

    Weights: the whole network learns from the labels, the narrowest one and ``sampled`` others learn the whole
    one's logits (the sandwich rule). Gates: the network with every channel multiplied by its probability to stay
    learns from the labels, with ``budget_weight * |log(expected cost / target)|`` added; weights stand still.

    Source: DMCP, arXiv:2005.03354, and its official code. Differs: it starts from the trained dense network with
        open gates (official: from scratch, at a quarter of the width), so channels are ordered by importance
        first; the budget loss is smooth and has one minimum, where the official one has a dead zone and jumps;
        gates are trained by Adam; the gate step leaves BN statistics alone.

    Attributes:
        chunks: Parts that a group's channels are divided into; the first always stays.
        start: Logit that every gate starts with.
        gate_lr: Learning rate of the gates.
        gates_from: Fraction of the epochs after which the gates are trained.
        budget_weight: Weight of the budget loss.
        sampled: Random networks in a weight step, besides the whole and the narrowest one.
        order: Channels by ``taylor`` score, best first; or by their ``index``, as in training from scratch.
        schedule: Of the phase; its learning rate is that of the weights.

    Raises:
        ConfigError: The schedule has no epoch, or keeps another epoch's weights than the last one's.
    """

    needs_budget: ClassVar[bool] = True
    chunks: Annotated[int, Field(ge=2)]
    start: float
    gate_lr: PositiveFloat
    gates_from: Annotated[float, Field(ge=0, lt=1)]
    budget_weight: NonNegativeFloat
    sampled: NonNegativeInt
    order: Literal["taylor", "index"]
    schedule: Schedule

    def __post_init__(self) -> None:
        refuse_schedule(self.schedule, "give it at least 2", looks_inside=True)

    @property
    def effort(self) -> float:
        """The whole network, the narrowest, the sampled ones, and in some epochs the gates."""
        return 2 + self.sampled + 1 - self.gates_from

    def refuse(self, net: SegmentationNet, groups: Sequence[ChannelGroup], image: Tensor) -> None:
        """Every network can be gated."""

    def __call__(
        self,
        net: SegmentationNet,
        groups: Sequence[ChannelGroup],
        *,
        training: Training,
        calibration: Calibration,
        target: Target,
    ) -> Prepared:
        """The network that works at any width.

        Learned: ``rank/<group>`` (C,), best channel 0; ``logits/<group>`` (chunks - 1,); ``remaining`` (epochs,),
        the expected share of the budget's unit after each epoch; ``share`` (1,), the one asked for.
        """
        ranks = self._ranks(net, groups, calibration)
        make_step = partial(MarkovStep, phase=self, groups=groups, ranks=ranks, target=target)
        trained, curve, step = fit(net, training, make_step)
        learned = {
            **{f"rank/{name}": rank for name, rank in ranks.items()},
            **{f"logits/{name}": logits.detach() for name, logits in step.logits.items()},
            "remaining": torch.tensor([epoch.facts["expected_remaining"] / 100 for epoch in curve]),
            "share": torch.tensor([target.share]),
        }
        return Prepared(net=trained, learned=learned, curve=curve)

    def figure(self, learned: Mapping[str, Tensor]) -> Figure:
        """Probability of every chunk of every group to stay, and the expected cost over the epochs."""
        names = [key.removeprefix("logits/") for key in learned if key.startswith("logits/")]
        chances = np.full((len(names), self.chunks), np.nan)
        for row, name in enumerate(names):
            chance = keep_chances(learned[f"logits/{name}"]).numpy()
            chances[row, : len(chance)] = chance
        figure = Figure(figsize=(10, max(4.0, 0.16 * len(names) + 1)), layout="constrained")
        gates, cost = figure.subplots(1, 2, width_ratios=(3, 2))
        image = gates.imshow(chances, aspect="auto", cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
        gates.set(xlabel="chunk of channels, best first", yticks=range(len(names)))
        gates.set_yticklabels(names, fontsize=6)
        figure.colorbar(image, ax=gates, label="probability to stay")
        epochs = range(1, len(learned["remaining"]) + 1)
        cost.plot(epochs, 100 * learned["remaining"].numpy(), marker="o", label="expected")
        cost.axhline(100 * float(learned["share"]), linestyle="--", color="black", label="asked")
        cost.set(xlabel="epoch of the phase", ylabel="% of the budget's unit that remains", ylim=(0, 105))
        cost.legend()
        return figure

    def _ranks(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], calibration: Calibration
    ) -> dict[str, Tensor]:
        """Group name -> (C,) int64 rank of each channel, 0 the best."""
        if self.order == "index":
            return {group.name: torch.arange(group.size) for group in groups}
        scores = Taylor(variant="gate")(net, groups, calibration)
        return {name: score.argsort(descending=True, stable=True).argsort() for name, score in scores.items()}


class MarkovStep(Step):
    """A step of the weights; once the gates are trained, a step of the gates after each."""

    def __init__(
        self,
        net: SegmentationNet,
        training: Training,
        steps: int,
        *,
        phase: MarkovTraining,
        groups: Sequence[ChannelGroup],
        ranks: Mapping[str, Tensor],
        target: Target,
    ) -> None:
        super().__init__(net, training, steps)
        self.phase, self.target = phase, target
        self.chunks = {
            group.name: chunk_of_rank(group.size, phase.chunks)[ranks[group.name]] for group in groups
        }
        self.logits = {
            name: nn.Parameter(torch.full((int(chunk.max()),), phase.start, dtype=torch.float64))
            for name, chunk in self.chunks.items()
        }
        self.gate_optimizer = torch.optim.Adam(self.logits.values(), lr=phase.gate_lr)
        first = training.data.fit[0].image[None].to(self.device)
        self.gates = find_gates(net.eval(), groups, first, "gate")
        self.trains_gates = False
        self.last: Batch | None = None

    def epoch(self, batches: Iterable[Batch], epoch: int) -> float:
        """Train on the batches of one epoch; gives the mean loss of the whole network."""
        self.trains_gates = epoch >= int(self.phase.gates_from * self.schedule.epochs)
        return super().epoch(batches, epoch)

    def backward(self, batch: Batch, window: int) -> Tensor:
        """Gradients of the sandwich: the whole network, the narrowest, and some in between."""
        image, label = self.on_device(batch)
        with self.autocast():
            heads = self.net.all_logits(image)
            loss: Tensor = self.loss(heads, label)
        torch.autograd.backward(self.scaler.scale(loss / window))
        teacher = heads[0].detach().float().log_softmax(1)
        for widths in [dict.fromkeys(self.chunks, 1), *(self._drawn() for _ in range(self.phase.sampled))]:
            kept = {
                name: (chunk < widths[name]).float().to(self.device) for name, chunk in self.chunks.items()
            }
            with self.autocast(), frozen_statistics(self.net), gated(self.gates, kept):
                student = self.net.all_logits(image)[0].float().log_softmax(1)
            distance = F.kl_div(student, teacher, log_target=True, reduction="none").sum(1).mean()
            torch.autograd.backward(self.scaler.scale(distance / window))
        self.last = batch
        return loss.detach()

    def update(self) -> None:
        """One step of the weights' optimiser and, when it is their turn, one of the gates'."""
        super().update()
        if self.trains_gates and self.last is not None:
            self._update_gates(self.last)

    def facts(self) -> dict[str, float]:
        """Expected share of the budget's unit that remains, in percent, and the one asked for."""
        with torch.no_grad():
            remaining = float(self.target.remaining(self._chances()))
        return {"expected_remaining": 100 * remaining, "asked_remaining": 100 * self.target.share}

    def state_dict(self) -> dict[str, Any]:
        """With the gates and their optimiser."""
        gates = {name: logits.detach() for name, logits in self.logits.items()}
        return {**super().state_dict(), "logits": gates, "gate_optimizer": self.gate_optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what ``state_dict`` gave."""
        super().load_state_dict(state)
        self.gate_optimizer.load_state_dict(state["gate_optimizer"])
        with torch.no_grad():
            for name, logits in self.logits.items():
                logits.copy_(state["logits"][name])

    def _update_gates(self, batch: Batch) -> None:
        image, label = self.on_device(batch)
        chances = self._chances()
        factors = {name: chance.float().to(self.device) for name, chance in chances.items()}
        with self.autocast(), frozen_statistics(self.net), gated(self.gates, factors):
            loss: Tensor = self.loss(self.net.all_logits(image), label)
        distance = (self.target.remaining(chances) / self.target.share).log().abs()
        total = loss + self.phase.budget_weight * distance.to(loss)
        logits = list(self.logits.values())
        # scaled, since small gradients vanish in half precision
        scale = self.scaler.get_scale()
        gradients = torch.autograd.grad(total * scale, logits, materialize_grads=True)
        if self.scaler.is_enabled() and not all(gradient.isfinite().all() for gradient in gradients):
            return  # an overflow, after which the scaler would leave out a step of the weights too
        for parameter, gradient in zip(logits, gradients, strict=True):
            parameter.grad = gradient / scale
        self.gate_optimizer.step()
        self.gate_optimizer.zero_grad(set_to_none=True)

    def _chances(self) -> dict[str, Tensor]:
        """Group name -> (C,) probability of each channel to stay, on the CPU."""
        return {name: keep_chances(self.logits[name])[chunk] for name, chunk in self.chunks.items()}

    def _drawn(self) -> dict[str, int]:
        """Chunks of every group in a random network: uniform before the gates are trained, then by the gates."""
        if self.trains_gates:
            return {name: sampled_chunks(logits) for name, logits in self.logits.items()}
        return {name: int(torch.randint(1, len(logits) + 2, ())) for name, logits in self.logits.items()}


@dataclass(frozen=True, kw_only=True)
class Dmcp:
    """Minus the common shift of all gates from which on a channel is kept.

    The phase learns widths near the budget; the ranking of all channels together shifts all gates by the same
    amount until the budget is met exactly.

    Source: DMCP, arXiv:2005.03354. Differs: see ``MarkovTraining``; weights are inherited unless
        ``init=scratch``, the paper's way; residual streams share one chain as in the official code, and
        dilated convolutions are counted, which the official code refuses.

    Attributes:
        phase: The training of weights and gates.
    """

    name: ClassVar[str] = "dmcp"
    needs: ClassVar[Needs] = "gradients"
    scope: ClassVar[Scope] = "global"
    phase: MarkovTraining

    def __call__(
        self, net: SegmentationNet, groups: Sequence[ChannelGroup], calibration: Calibration
    ) -> Scores:
        """Group name -> (C,) float64 on CPU.

        Raises:
            ConfigError: The network did not go through the phase.
            TrainingError: A gate that is not finite.
        """
        del net
        learned = calibration.learned
        if learned is None:
            raise ConfigError(
                "pruner dmcp scores a network after the training of its gates, and this one had none. Let the "
                "prune stage run it."
            )
        return checked(
            {
                group.name: shift_scores(learned[f"logits/{group.name}"], learned[f"rank/{group.name}"])
                for group in groups
            }
        )
