"""The laws of every registered criterion on registered networks of every structure."""

import copy
import functools
import importlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import Tensor, nn

from segprune.budget.fraction import FractionBudget
from segprune.budget.simulate import CostSimulator
from segprune.config.component import component
from segprune.errors import ConfigError
from segprune.graph.cut import cut, mask_error
from segprune.graph.group import ChannelGroup, PrunePlan, Scores
from segprune.graph.trace import trace
from segprune.graph.units import by_unit
from segprune.model.contract import SegmentationNet
from segprune.pruner.contract import Calibration, Pruner, Target, TrainedPruner
from segprune.pruner.partial import scorable, unscored
from segprune.stage.calibration import reestimate_batchnorm
from segprune.stage.rounds import Rounds
from segprune.stage.scoring import Scored
from segprune.training.step import Training
from tests.pruner.battery import PrunerBattery
from tests.pruner.surgery import duplicate, kill, permute, same, snapshot
from tests.pruner.test_dmcp import learned_by
from tests.tiny import CPU, tiny_data
from tests.toys import (
    CLASSES,
    Concat,
    InGroups,
    Normed,
    Plain,
    SqueezeExcite,
    toy,
    toy_batches,
    toy_calibration,
)

CONF = Path(__file__).parents[2] / "conf"
PRUNERS = sorted(path.stem for path in (CONF / "pruner").glob("*.yaml") if "_target_" in OmegaConf.load(path))
STRUCTURES = ("simple_segnet", "unet", "lite0_fpn", "deeplabv3_resnet50", "resnet50_seg")
"""A plain network, skips that are concatenated, depthwise blocks, dilated branches, a deep residual stream."""
OF_THE_SAME_BLOCKS = {
    "deeplabv3_resnet101": "deeplabv3_resnet50",
    "fcn_resnet101": "deeplabv3_resnet50",
    "fcn_resnet50": "deeplabv3_resnet50",
    "resnet101_seg": "resnet50_seg",
}
"""Network -> one of ``STRUCTURES`` that has all its kinds of block."""
WIDTH = 8
"""Channels that every group keeps, so that the laws take no time."""

every_pruner = pytest.mark.parametrize("pruner", PRUNERS)


class Network(NamedTuple):
    """A registered network, thin, with statistics of its own, in double precision."""

    net: SegmentationNet
    groups: tuple[ChannelGroup, ...]
    simulator: CostSimulator


def battery_of(pruner: str) -> type[PrunerBattery]:
    """The battery that the test file of a criterion runs."""
    title = "".join(part.capitalize() for part in pruner.split("_"))
    battery: type[PrunerBattery] = getattr(
        importlib.import_module(f"tests.pruner.test_{pruner}"), f"Test{title}"
    )
    return battery


@functools.cache
def thin(model: str) -> Network:
    node = OmegaConf.to_container(OmegaConf.load(CONF / "model" / f"{model}.yaml"))
    node |= {"weights": "none"} if "weights" in node else {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wide = component(node, "model", runtime=("num_classes",))(num_classes=CLASSES).eval()
        for module in wide.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.1)
    net = cut(wide, {group.name: tuple(range(WIDTH, group.size)) for group in trace(wide)})
    reestimate_batchnorm(net, toy_batches(size_hw=(48, 48)))
    groups = trace(net)
    return Network(net.double(), groups, CostSimulator(net, groups, (32, 32)))


@pytest.fixture(scope="module", params=STRUCTURES)
def network(request: pytest.FixtureRequest) -> Network:
    return thin(request.param)


@pytest.fixture(scope="module", params=[model for model in STRUCTURES if model != "resnet50_seg"])
def shallow(request: pytest.FixtureRequest) -> Network:
    """DeepLabV3's ResNet-50 has the residual stream of the other one."""
    return thin(request.param)


def calibration_for(groups: tuple[ChannelGroup, ...]) -> Calibration:
    """In double precision, and with what a training phase would have learned."""
    batches = [batch._replace(image=batch.image.double()) for batch in toy_batches(size_hw=(48, 48))]
    return replace(toy_calibration(count=0), batches=batches, learned=learned_by(groups))


def plan_of(network: Network, scores: Scores, *, ratio: float, scope: str) -> PrunePlan:
    """What a budget of channels removes; it is met to the channel."""
    budget = FractionBudget(of="channels", scope=scope, floor=0.0, round_to=1, tolerance=0.1)
    reached = budget(network.groups, scores, ratio=ratio, paper_scope="local", simulator=network.simulator)
    total = sum(group.size for group in network.groups)
    assert sum(map(len, reached.plan.values())) == total - round((1 - ratio) * total)
    return reached.plan


def test_every_network_has_a_structure_that_is_tried() -> None:
    models = {path.stem for path in (CONF / "model").glob("*.yaml")} - {
        "module",
        "smp",
        "torchvision",
        "transformers",
    }
    assert models == {*STRUCTURES, *OF_THE_SAME_BLOCKS}
    assert set(OF_THE_SAME_BLOCKS.values()) <= set(STRUCTURES)


def test_every_criterion_has_a_battery() -> None:
    assert [battery_of(pruner).build().name for pruner in PRUNERS] == PRUNERS


@every_pruner
def test_the_scope_is_that_of_the_paper_and_the_other_one_an_option(pruner: str) -> None:
    battery = battery_of(pruner)
    scope = battery.build().scope
    budget = FractionBudget(of="channels", scope="paper", floor=0.1, round_to=1, tolerance=0.1)
    assert budget.ranking(scope) == scope == battery.paper_scope
    for other in ("local", "global"):
        assert replace(budget, scope=other).ranking(scope) == other


@every_pruner
def test_units_of_channels_are_scored_as_one_channel_each(pruner: str) -> None:
    net = toy(InGroups)
    groups = tuple(by_unit(group) for group in trace(net))
    assert [group.size for group in groups] == [3, 4, 3, 12]
    battery, calibration = battery_of(pruner), replace(toy_calibration(), learned=learned_by(groups))
    scores = battery.build()(net, groups, calibration)
    assert [scores[group.name].shape for group in groups] == [(group.size,) for group in groups]
    assert all(score.isfinite().all() and score.min() < score.max() for score in scores.values())
    if battery.dead_goes_first:
        for group in groups:
            damaged = copy.deepcopy(net)
            for member in group.members:
                if member.axis == "out":
                    layer, dead = damaged.get_submodule(member.layer), member.own[member.root == 1]
                    for tensor in (*layer.parameters(), *layer.buffers()):
                        tensor.data[dead if tensor.dim() else ...] = 0
            score = battery.build()(damaged, groups, calibration)[group.name]
            assert score[1] == score.min()


class Frames(Plain):
    """Its first layers read two halves of an image as frames."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv3d(3, 6, (1, 3, 3), padding=(0, 1, 1)), nn.BatchNorm3d(6))

    def forward(self, image: Tensor) -> Tensor:
        frames = torch.stack(self.normalise(image).chunk(2, dim=3), dim=2)
        x = F.relu(self.second(F.relu(self.first(frames)).mean(2)))
        return F.interpolate(self.head(F.relu(self.bare(x))), size=image.shape[2:])


class Strips(Plain):
    """Its second layer reads the columns of an image one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Sequential(nn.Conv1d(6, 5, 3, padding=1), nn.BatchNorm1d(5))

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(self.normalise(image))).flatten(2)))
        return self.head(F.relu(self.bare(x.unflatten(2, image.shape[2:]))))


class LastChannels(Plain):
    """A linear layer reads and gives channels in the last place."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Linear(6, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(self.normalise(image)))
        return self.head(F.relu(self.bare(F.relu(self.second(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2))))


class Scaleless(Normed):
    """Norms without a scale."""

    def __init__(self) -> None:
        super().__init__(partial(nn.BatchNorm2d, affine=False))


IN_MAPS = {"apoz", "fgp", "sirfp"}
BY_SCALE = {"bn_scale", "cap", "slimming"}
UNSCORED: dict[type[SegmentationNet], dict[str, set[str]]] = {
    Concat: {},
    SqueezeExcite: {"squeeze.0": {*IN_MAPS, "cap"}},
    Frames: {"first.0": {*IN_MAPS, "cap"}, "bare": BY_SCALE},
    Strips: {"second.0": {*IN_MAPS, "cap"}, "bare": BY_SCALE},
    LastChannels: {"second": {*IN_MAPS, *BY_SCALE}, "bare": BY_SCALE},
    Scaleless: {},
}
"""Network -> groups of it -> criteria that cannot score them: those of maps, and, but for cap, those by scale."""


def criterion_of(pruner: str) -> tuple[Pruner, tuple[object, ...]]:
    """A criterion, and what is asked for groups that cannot be scored."""
    criterion = battery_of(pruner).build()
    return criterion, (criterion, *((criterion.phase,) if isinstance(criterion, TrainedPruner) else ()))


@pytest.mark.parametrize("kind", UNSCORED)
@every_pruner
def test_what_stays_whole_is_what_cannot_be_scored_and_all_else_is_cut(
    kind: type[SegmentationNet], pruner: str
) -> None:
    net = toy(kind)
    groups, before = trace(net), snapshot(net)
    calibration = replace(toy_calibration(), learned=learned_by(groups))
    criterion, asked = criterion_of(pruner)
    left = unscored(asked, net, groups, (16, 16))
    if kind is Scaleless and pruner in BY_SCALE:
        assert scorable(groups, left) == ()
        return
    expected = {name for name, by in UNSCORED[kind].items() if pruner in by}
    assert set(left) == expected
    for group in groups:
        if group.name in expected and pruner != "cap":  # which looks at maps in its training
            with pytest.raises(ConfigError, match=rf"^pruner {pruner}: it cannot score {group.name} \("):
                criterion(net, [group], calibration)
    assert [key for key, value in snapshot(net).items() if not same(before[key], value)] == []

    def score(of: SegmentationNet, here: Sequence[ChannelGroup], _round: int) -> Scored:
        return Scored(scores=criterion(of, here, calibration), seconds=0.0, peak_mb=0.0)

    total = sum(group.size for group in groups)
    result = Rounds(
        score=score,
        scope=criterion.scope,
        budget=FractionBudget(of="channels", scope="paper", floor=0.0, round_to=1, tolerance=0.1),
        ratio=0.2,
        count=1,
        unscored=left,
        train_between=lambda net, _cuts, _round: net,
    )(net, (16, 16))
    # a criterion that cannot score all takes as many channels, from the others
    assert sum(map(len, result.reached.plan.values())) == total - round(0.8 * total)
    assert not expected & set(result.reached.plan)
    assert result.error < 1e-12


@pytest.mark.parametrize("pruner", sorted(IN_MAPS))
def test_scores_are_those_beside_a_convolution_in_the_place_of_a_linear_layer(pruner: str) -> None:
    net, twin = toy(SqueezeExcite), toy(SqueezeExcite)
    of_maps = {"squeeze": ("0", "1"), "excite": ("0",)}
    for part, (made, *norms) in of_maps.items():
        linear = net.get_submodule(f"{part}.{made}")
        twin.get_submodule(part)[0] = conv = nn.Conv2d(linear.in_features, linear.out_features, 1)
        conv.load_state_dict({**linear.state_dict(), "weight": linear.weight[:, :, None, None]})
        for norm in norms:
            twin.get_submodule(part)[1] = flat = nn.BatchNorm2d(linear.out_features)
            flat.load_state_dict(net.get_submodule(f"{part}.{norm}").state_dict())
    twin.forward = partial(_with_maps, twin)
    twin.eval()
    torch.testing.assert_close(twin(toy_batches()[0].image), net(toy_batches()[0].image))
    criterion, asked = criterion_of(pruner)
    groups = scorable(trace(net), unscored(asked, net, trace(net), (16, 16)))
    scores, calibration = criterion(net, groups, toy_calibration()), toy_calibration()
    for name, score in scores.items():
        torch.testing.assert_close(
            score, criterion(twin, trace(twin), calibration)[name], rtol=1e-4, atol=1e-6
        )
    assert len(scores) == 2


def _with_maps(net: SqueezeExcite, image: Tensor) -> Tensor:
    x = F.relu(net.wide(net.normalise(image)))
    x = x * net.excite(F.relu(net.squeeze(x.mean((2, 3), keepdim=True)))).sigmoid()
    return net.head(F.relu(net.project(x)))


@pytest.mark.slow
@every_pruner
def test_scores_follow_from_the_channels_and_change_nothing(network: Network, pruner: str) -> None:
    net, groups, _ = network
    battery, calibration = battery_of(pruner), calibration_for(groups)
    before, rng = snapshot(net), torch.get_rng_state()
    scores = battery.build()(net, groups, calibration)
    after = snapshot(net)
    assert [key for key in before if not same(before[key], after[key])] == []
    assert torch.equal(torch.get_rng_state(), rng)
    again = battery.build()(net, groups, calibration)
    for group in groups:
        score = scores[group.name]
        assert score.shape == (group.size,)
        assert score.isfinite().all()
        assert score.min() < score.max()
        assert torch.equal(score, again[group.name])
    if not battery.reads_network:
        return
    other, generator = copy.deepcopy(net), torch.Generator().manual_seed(7)
    orders = {group.name: torch.randperm(group.size, generator=generator) for group in groups}
    for group in groups:
        permute(other, group, orders[group.name])
    for name, score in battery.build()(other, groups, calibration).items():
        off = (score - scores[name][orders[name]]).abs().max() / scores[name].abs().max()
        assert off < battery.rounding, name


@pytest.mark.slow
@every_pruner
def test_dead_channels_and_duplicates(shallow: Network, pruner: str) -> None:
    battery, damaged = battery_of(pruner), copy.deepcopy(shallow.net)
    for group in shallow.groups:
        kill(damaged, group, channel=1)
        duplicate(damaged, group, source=0, target=2)
    scores = battery.build()(damaged, shallow.groups, calibration_for(shallow.groups))
    for name, score in scores.items():
        if battery.dead_goes_first:
            assert score[1] <= score.min() + 1e-6, name  # cosines of few pixels are 1 but for rounding
        if battery.duplicates == "equal":
            assert torch.isclose(score[0], score[2], rtol=1e-9, atol=1e-9), name
        if battery.duplicates == "apart":  # one of the two goes first, if only by the last bit
            assert score[0] != score[2], name


@pytest.mark.slow
def test_every_method_removes_what_is_asked_and_its_cut_is_the_mask(shallow: Network) -> None:
    net, groups, simulator = shallow
    plans = []
    for pruner in PRUNERS:
        scores = battery_of(pruner).build()(net, groups, calibration_for(groups))
        for scope in ("local", "global"):
            deeper = [plan_of(shallow, scores, ratio=ratio, scope=scope) for ratio in (0.3, 0.6)]
            left = [simulator.cost(plan, "macs") for plan in deeper]
            assert left == sorted(left, reverse=True)
        plans.append(deeper[1])
    # the groups are dealt out to the methods in turn: one cut proves the indices of all of them
    dealt = {group.name: plans[index % len(plans)].get(group.name, ()) for index, group in enumerate(groups)}
    assert mask_error(net, cut(net, dealt), groups, dealt) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["cap", "dmcp", "slimming"])
def test_a_phase_trains_dilated_residual_and_depthwise_networks(
    shallow: Network, pruner: str, tmp_path: Path
) -> None:
    net, groups, simulator = copy.deepcopy(shallow.net).float(), shallow.groups, shallow.simulator
    criterion = battery_of(pruner).build()
    training = Training(
        data=tiny_data(),
        schedule=criterion.phase.schedule,
        seed=0,
        hardware=CPU,
        folder=tmp_path,
        on_epoch=lambda _: None,
    )
    criterion.phase.refuse(net, groups, torch.zeros(1, 3, 48, 48))
    prepared = criterion.phase(
        net,
        groups,
        training=training,
        calibration=toy_calibration(),
        target=Target(share=0.5, remaining=lambda keep: simulator.expected_share(keep, unit="macs")),
    )
    trained = prepared.net.state_dict()
    assert all(value.isfinite().all() for value in trained.values())
    scores = criterion(prepared.net, groups, replace(toy_calibration(), learned=prepared.learned))
    plan = plan_of(shallow, scores, ratio=0.5, scope="global")
    assert mask_error(prepared.net, cut(prepared.net, plan), groups, plan) < 1e-10
