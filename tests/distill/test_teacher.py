import torch

from segprune.distill.look import Tap
from segprune.distill.teacher import Teacher
from tests.toys import Concat, Plain, toy


def test_several_teach_by_the_mean_of_their_logits() -> None:
    nets, image = [toy(Plain, seed=seed) for seed in (0, 1)], torch.rand(2, 3, 8, 8)
    seen = Teacher(nets=nets, taps={})(image)
    assert torch.allclose(seen.logits, (nets[0](image) + nets[1](image)) / 2)
    assert dict(seen.features) == {}


def test_there_are_no_gradients_and_only_the_main_logits() -> None:
    net, image = toy(Concat), torch.rand(1, 3, 8, 8)
    seen = Teacher(nets=[net], taps={"a": Tap(layer="head", side="in", channels=None)})(image)
    assert not seen.logits.requires_grad
    assert not seen.features["a"].requires_grad
    assert torch.equal(seen.logits, net(image))
    assert seen.features["a"].shape == (1, 6, 8, 8)


def test_its_size_is_that_of_all_weights() -> None:
    (net,) = (torch.nn.Linear(10, 10),)
    both = Teacher(nets=[net, net], taps={})  # type: ignore[list-item]
    assert both.size_mb == 2 * (100 + 10) * 4 / 1e6
