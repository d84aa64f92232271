"""The laws of every segmentation network; a test class per network says how to build it."""

import copy
import functools

import pytest
import torch
import torch.nn.functional as F
from fvcore.nn import FlopCountAnalysis
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from segprune.budget.allocate import Allocation
from segprune.checkpoint import checkpoint
from segprune.graph.cut import cut, mask_error
from segprune.graph.group import ChannelGroup, PrunePlan
from segprune.graph.trace import trace
from segprune.model.contract import SegmentationNet
from segprune.transform.cut import Cut

NUM_CLASSES = 5
CONVS = (nn.Conv2d, nn.ConvTranspose2d)


class Laws:
    """Subclasses give ``build``; ``net`` is a fresh copy for each test, in eval mode."""

    @staticmethod
    def build() -> SegmentationNet:
        """A small instance with 5 classes, weights from the global generator."""
        raise NotImplementedError

    @pytest.fixture
    def net(self) -> SegmentationNet:
        return copy.deepcopy(_built(type(self).build))


class ModelBattery(Laws):
    """What training, evaluation, counting and saving need of a network."""

    @pytest.mark.parametrize("size_hw", [(64, 64), (75, 101), (32, 47)])
    def test_logits_have_the_image_size_and_one_channel_per_class(self, net, size_hw):
        with torch.no_grad():
            logits = net(_image(2, size_hw))
        assert logits.shape == (2, NUM_CLASSES, *size_hw)
        assert logits.dtype == torch.float32
        assert logits.isfinite().all()

    def test_evaluation_is_deterministic(self, net):
        image = _image(2, (64, 64))
        with torch.no_grad():
            assert torch.equal(net(image), net(image))

    def test_logits_depend_on_the_image(self, net):
        image = _image(2, (64, 64))
        with torch.no_grad():
            first, second = net(image)
        assert not torch.allclose(first, second, rtol=1e-3)

    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
    def test_an_image_does_not_depend_on_its_batch_mates(self, net, dtype, tolerance):
        net, image = net.to(dtype), _image(2, (64, 64)).to(dtype)
        with torch.no_grad():
            together, alone = net(image)[:1], net(image[:1])
        assert together.dtype == dtype
        assert _relative_error(alone, together) < tolerance

    def test_float64_gives_what_float32_gives(self, net):
        image = _image(1, (64, 64))
        with torch.no_grad():
            single = net(image)
            assert _relative_error(single.double(), net.double()(image.double())) < 1e-4

    def test_memory_format_does_not_matter(self, net):
        net, image = net.double(), _image(2, (47, 70)).double()
        with torch.no_grad():
            expected = net(image)
            net = net.to(memory_format=torch.channels_last)
            got = net(image.to(memory_format=torch.channels_last))
        assert _relative_error(got, expected) < 1e-10

    def test_image_is_normalised_with_the_mean_and_std_of_the_network(self, net):
        net, image = net.double(), _image(1, (64, 64)).double()
        with torch.no_grad():
            expected = net(image)
            net.mean, net.std = 2 * net.mean + 1, 2 * net.std
            got = net(2 * image + 1)  # (2x + 1 - (2m + 1)) / 2s = (x - m) / s
        assert _relative_error(got, expected) < 1e-10

    def test_main_head_of_all_logits_is_forward(self, net):
        image = _image(2, (47, 70))
        with torch.no_grad():
            heads = net.all_logits(image)
            assert torch.equal(heads[0], net(image))
        assert [head.shape for head in heads] == [heads[0].shape] * (1 + len(net.training_only))

    def test_traced_logits_have_the_values_of_all_logits(self, net):
        image = _image(2, (64, 64))
        with torch.no_grad():
            traced, expected = net.traced_logits(image), net.all_logits(image)
        assert len(traced) == len(expected)
        assert all(torch.equal(a, b) for a, b in zip(traced, expected, strict=True))

    def test_forward_runs_every_module_but_those_only_for_training(self, net):
        with torch.no_grad():
            ran = _modules_that_run(net, lambda: net(_image(2, (64, 64))))
        with_weights = {name for name, module in net.named_modules() if module._parameters}
        for_training = {name for name in with_weights if name.split(".")[0] in net.training_only}
        assert ran == with_weights - for_training

    def test_training_runs_every_module(self, net):
        ran = _modules_that_run(net.train(), lambda: net.all_logits(_image(2, (64, 64))))
        assert ran == {name for name, module in net.named_modules() if module._parameters}

    def test_training_step_reaches_every_parameter(self, net):
        before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
        losses = _train_one_step(net)
        assert len(losses) == 1 + len(net.training_only)
        assert all(loss.isfinite() for loss in losses)
        assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []
        # a shift in front of a norm has gradient 0 but for rounding, so only the weights must have moved
        moved = {
            name for name, parameter in net.named_parameters() if not torch.equal(parameter, before[name])
        }
        assert {name for name, parameter in net.named_parameters() if parameter.ndim > 1} <= moved

    @pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
    def test_fvcore_counts_every_convolution(self, net):
        image = _image(1, (47, 70))
        analysis = FlopCountAnalysis(net, image)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        counted = analysis.by_operator()
        assert counted["conv"] == _conv_macs(net, image)

    def test_every_convolution_but_the_last_of_a_head_is_followed_by_a_norm(self, net):
        convs = sum(isinstance(module, CONVS) for module in net.modules())
        norms = sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())
        assert convs - norms == 1 + len(net.training_only)

    def test_weights_saved_as_safetensors_come_back_bit_equal(self, net, tmp_path):
        other = self.build().eval()
        image = _image(1, (64, 64))
        save_file(net.state_dict(), tmp_path / "weights.safetensors")
        other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
        with torch.no_grad():
            assert torch.equal(other(image), net(image))


class CutBattery(Laws):
    """What pruning needs of a network, with random scores."""

    def test_no_group_holds_a_layer_that_makes_logits(self, net):
        image = _image(1, (64, 64))
        makers = {name for name, module in net.named_modules() if _makes_logits(module, net, image)}
        assert len(makers) == 1 + len(net.training_only)
        outs = {member.layer for group in trace(net) for member in group.members if member.axis == "out"}
        assert makers & outs == set()

    def test_every_convolution_that_makes_no_logits_is_in_a_group(self, net):
        outs = {member.layer for group in trace(net) for member in group.members if member.axis == "out"}
        convs = {name for name, module in net.named_modules() if isinstance(module, CONVS)}
        deployed = {name for name in convs if name.split(".")[0] not in net.training_only}
        assert len(deployed - outs) == 1

    @pytest.mark.parametrize(("ratio", "scope"), [(0.3, "local"), (0.7, "global")])
    def test_cut_equals_mask_trains_and_comes_back(self, net, ratio, scope, tmp_path):
        groups = _groups_of(type(self).build)
        plan = _plan(groups, ratio, scope)
        small = cut(net, plan)

        assert mask_error(net, small, groups, plan) < 1e-10

        losses = _train_one_step(small)
        assert all(loss.isfinite() for loss in losses)
        image = _image(1, (47, 70))
        checkpoint.write(tmp_path, small.eval(), transforms=(Cut(plan),), about={})
        again, transforms, _ = checkpoint.read(tmp_path, self.build)
        assert transforms == (Cut(plan),)
        with torch.no_grad():
            assert torch.equal(again.eval()(image), small(image))


@functools.lru_cache(maxsize=1)
def _built(build) -> SegmentationNet:
    torch.manual_seed(0)
    net = build().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training, so that a misplaced norm shows
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net


@functools.lru_cache(maxsize=1)
def _groups_of(build) -> tuple[ChannelGroup, ...]:
    return trace(_built(build))


def _image(count: int, size_hw: tuple[int, int]) -> Tensor:
    return torch.rand(count, 3, *size_hw, generator=torch.Generator().manual_seed(1))


def _relative_error(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).abs().max() / expected.abs().max())


def _modules_that_run(net: SegmentationNet, run) -> set[str]:
    """Names of the modules with parameters of their own that ``run`` calls."""
    ran: set[str] = set()
    hooks = [
        module.register_forward_hook(lambda *_, name=name: ran.add(name))
        for name, module in net.named_modules()
        if module._parameters
    ]
    run()
    for hook in hooks:
        hook.remove()
    return ran


def _train_one_step(net: SegmentationNet) -> list[Tensor]:
    """One step of SGD on two images, from training mode; the loss of each head."""
    net.train()
    label = torch.randint(NUM_CLASSES, (2, 64, 64), generator=torch.Generator().manual_seed(2))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    losses = [F.cross_entropy(logits, label) for logits in net.all_logits(_image(2, (64, 64)))]
    torch.stack(losses).sum().backward()
    optimiser.step()
    return losses


def _conv_macs(net: SegmentationNet, image: Tensor) -> int:
    """Multiply-adds of all convolutions, from the shapes seen in one forward of one image."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal total
        # a convolution applies its kernel once per output pixel, a transposed one once per input pixel
        positions = (inputs[0] if module.transposed else output)[0, 0].numel()
        total += positions * module.weight.numel()

    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, CONVS)]
    with torch.no_grad():
        net(image)
    for hook in hooks:
        hook.remove()
    return total


def _makes_logits(module: nn.Module, net: SegmentationNet, image: Tensor) -> bool:
    """Whether doubling the weights of this convolution doubles the logits of a head, bias aside."""
    if not isinstance(module, nn.Conv2d) or module.out_channels != NUM_CLASSES or module.bias is None:
        return False
    with torch.no_grad():
        before = net.all_logits(image)
        module.weight.mul_(2)
        module.bias.mul_(2)
        after = net.all_logits(image)
        module.weight.div_(2)
        module.bias.div_(2)
    return any(torch.allclose(b, 2 * a, rtol=1e-4) for a, b in zip(before, after, strict=True))


def _plan(groups: tuple[ChannelGroup, ...], ratio: float, scope: str) -> PrunePlan:
    """The plan for random scores with at least one tenth of each group kept."""
    generator = torch.Generator().manual_seed(3)
    scores = {group.name: torch.rand(group.size, generator=generator) for group in groups}
    allocation = Allocation(groups, scores, floor=0.1, round_to=1)
    counts = allocation.local(ratio) if scope == "local" else allocation.lowest(int(ratio * allocation.total))
    return allocation.plan(counts)
