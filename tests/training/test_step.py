from pathlib import Path

import torch

from segprune.training.step import Step, Training
from tests.tiny import CPU, tiny_data, tiny_net, tiny_schedule


def training(folder: Path, **schedule: object) -> Training:
    return Training(
        data=tiny_data(),
        schedule=tiny_schedule(**schedule),
        seed=0,
        hardware=CPU,
        folder=folder,
        on_epoch=lambda _: None,
    )


class Shifted(Step):
    """Adds 1 to every gradient."""

    def adjust_gradients(self) -> None:
        for parameter in self.net.parameters():
            if parameter.grad is not None:
                parameter.grad += 1.0


def test_gradients_are_adjusted_after_clipping_and_before_the_update(tmp_path: Path) -> None:
    # plain SGD: the two networks then differ by exactly lr * 1, however hard the gradients were clipped
    of = training(tmp_path, optimizer="sgd", momentum=0.0, lr=0.5, grad_clip=0.001, decay="constant")
    plain, shifted = tiny_net(), tiny_net()
    batch = [tiny_data().fit[index] for index in range(4)]
    stacked = type(batch[0])(torch.stack([b.image for b in batch]), torch.stack([b.label for b in batch]))
    Step(plain, of, 1).epoch([stacked], 0)
    Shifted(shifted, of, 1).epoch([stacked], 0)
    for a, b in zip(plain.parameters(), shifted.parameters(), strict=True):
        assert torch.allclose(a - b, torch.full_like(a, 0.5), atol=1e-6)


def test_a_step_has_no_facts_of_its_own(tmp_path: Path) -> None:
    step = Step(tiny_net(), training(tmp_path), 2)
    assert step.facts() == {}
    assert set(step.state_dict()) == {"optimizer", "scaler"}
