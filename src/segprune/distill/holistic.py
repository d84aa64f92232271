"""A critic of whole score maps, which learns to tell those of the student from those of the teacher."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim import Adam

WIDTHS = (64, 128, 256, 512)
"""Channels of its layers, each of which halves the map; as in the official code."""
LEAK = 0.1
ATTENDS_FROM = 2
"""The first layer that self-attention follows: on larger maps its cost, quadratic in the positions, is too high."""


class Critic(nn.Module):
    """(N, K, h, w) logits -> (N,) scores, higher for the teacher's, with an optimiser of its own (WGAN-GP).

    Its weights have no gradient but while it learns, so that whatever trains the student leaves them alone. The
    state of the optimiser is a part of its own.

    Source: the holistic term of arXiv:1903.04197; WGAN-GP, arXiv:1704.00028. See docs/distillation/skd.md for what
        differs.

    Args:
        classes: K.
        lr: Learning rate.
        penalty: Weight of the gradient penalty.
    """

    def __init__(self, classes: int, *, lr: float, penalty: float) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.GroupNorm(1, classes, affine=False)]
        for index, (before, after) in enumerate(zip((classes, *WIDTHS), WIDTHS, strict=False)):
            layers += [spectral_norm(nn.Conv2d(before, after, 3, stride=2, padding=1)), nn.LeakyReLU(LEAK)]
            layers += [Attention(after)] if index >= ATTENDS_FROM else []
        self.net = nn.Sequential(*layers, nn.Conv2d(WIDTHS[-1], 1, 3, padding=1))
        self.requires_grad_(requires_grad=False)
        self.penalty = penalty
        self.optimizer = Adam(self.parameters(), lr=lr, betas=(0.0, 0.9))  # those of WGAN-GP

    def forward(self, logits: Tensor) -> Tensor:
        """The mean over places of the map."""
        scores: Tensor = self.net(logits.float()).mean((1, 2, 3))
        return scores

    def learn(self, student: Tensor, teacher: Tensor) -> None:
        """One update: higher scores for the teacher's maps than for the student's, slopes of 1 between them."""
        weights = list(self.parameters())
        self.requires_grad_(requires_grad=True)
        share = torch.rand(len(student), 1, 1, 1, device=student.device)
        loss = critic_loss(self, student.detach(), teacher.detach(), share, penalty=self.penalty)
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.grad = gradient
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.requires_grad_(requires_grad=False)

    def get_extra_state(self) -> dict[str, Any]:
        """The state of the optimiser; ``state_dict`` takes it along."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Continue from it."""
        self.optimizer.load_state_dict(dict(state))


def critic_loss(
    critic: Callable[[Tensor], Tensor], student: Tensor, teacher: Tensor, share: Tensor, *, penalty: float
) -> Tensor:
    """What a critic minimises, a scalar.

    The mean score of the student's maps, minus that of the teacher's, plus ``penalty`` times the mean of (slope -
    1)^2 at maps on the lines between them.

    Args:
        critic: (N, K, h, w) -> (N,).
        student: (N, K, h, w).
        teacher: Likewise.
        share: (N, 1, 1, 1) in [0, 1]: where on the line; 1 at the teacher's map.
        penalty: Weight of the gradient penalty.
    """
    between = (share * teacher + (1 - share) * student).requires_grad_()
    (slopes,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    lengths = torch.linalg.vector_norm(slopes.flatten(1), dim=1)
    steep = (lengths - 1).square().mean()
    loss: Tensor = critic(student).mean() - critic(teacher).mean() + penalty * steep
    return loss


class Attention(nn.Module):
    """Self-attention over the positions of a map, added to it with a learnt factor that begins at 0 (SAGAN)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query, self.key = (nn.Conv2d(channels, channels // 8, 1) for _ in range(2))
        self.value = nn.Conv2d(channels, channels, 1)
        self.factor = nn.Parameter(torch.zeros(()))

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        query, key, value = (part(maps).flatten(2) for part in (self.query, self.key, self.value))
        weights = F.softmax(query.transpose(1, 2) @ key, dim=2)  # (N, P, P)
        attended: Tensor = (value @ weights.transpose(1, 2)).view_as(maps)
        return maps + self.factor * attended
