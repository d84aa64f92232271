import pytest
import torch

from segprune.pruner.scoring_mode import scoring_mode
from tests.pruner.surgery import disturb, same, snapshot
from tests.toys import Plain, toy

CPU = torch.device("cpu")


def test_inside_all_is_in_eval_mode_and_only_what_was_asked_for_has_gradients():
    net = toy(Plain)
    disturb(net)
    asked = [net.get_submodule("first.1").weight, net.get_submodule("bare").bias]
    with scoring_mode(net, CPU, trainable=asked):
        assert not any(module.training for module in net.modules())
        assert {p for p in net.parameters() if p.requires_grad} == set(asked)


def test_gradients_are_on_if_and_only_if_they_are_asked_for():
    net = toy(Plain)
    with torch.no_grad(), scoring_mode(net, CPU, trainable=list(net.parameters())):
        assert torch.is_grad_enabled()
    with scoring_mode(net, CPU, trainable=()):
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


def test_precision_is_full_even_inside_autocast():
    net = toy(Plain)
    with torch.autocast("cpu", dtype=torch.bfloat16), scoring_mode(net, CPU, trainable=()):
        assert net(torch.rand(1, 3, 8, 8)).dtype == torch.float32


def test_everything_is_put_back_after_an_error():
    net = toy(Plain)
    disturb(net)
    before, rng = snapshot(net), torch.get_rng_state()
    with pytest.raises(RuntimeError, match="size of tensor"), scoring_mode(net, CPU, trainable=()):
        net.all_logits(torch.rand(1, 5, 4, 4))
    after = snapshot(net)
    assert [key for key in before if not same(before[key], after[key])] == []
    assert torch.equal(torch.get_rng_state(), rng)
