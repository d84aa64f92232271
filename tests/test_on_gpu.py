"""What runs on a GPU, run on one that holds nothing: whatever mixes it with the CPU is refused, as a GPU would."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from segprune.config.component import component
from segprune.dataset.contract import Batch, SegData
from segprune.graph.trace import trace
from segprune.loss.ce import CrossEntropy
from segprune.measure.evaluate import evaluate
from segprune.measure.latency import Timing, interleaved
from segprune.measure.loss_change import loss_changes
from segprune.measure.memory import inference_peak_mb
from segprune.measure.quality import Rules, assess
from segprune.measure.runners import eager
from segprune.model.contract import SegmentationNet
from segprune.model.initial import weights_to_come
from segprune.pruner.contract import Calibration, Target
from segprune.pruner.dmcp import MarkovStep
from segprune.pruner.sparse import SparseTraining
from segprune.stage.calibration import CalibrationSet, reestimate_batchnorm
from segprune.training.loss import segmentation_loss
from segprune.training.step import Step, Training
from tests.gpus import Driver, with_gpus, without_memory
from tests.measure.test_evaluate import Listed
from tests.pruner.test_cap import phase as cap
from tests.pruner.test_dmcp import learned_by
from tests.pruner.test_dmcp import phase as dmcp
from tests.pruner.test_registered import PRUNERS, battery_of
from tests.test_conf import CONF
from tests.tiny import CPU, tiny_context, tiny_data, tiny_net, tiny_schedule
from tests.toys import Plain, Residual, toy, toy_batches, toy_loss

GPU = torch.device("cuda", 0)
MODELS = sorted(
    {path.stem for path in (CONF / "model").glob("*.yaml")} - {"module", "smp", "torchvision", "transformers"}
)
pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")


@pytest.fixture(autouse=True)
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    return with_gpus(monkeypatch, 1)


@pytest.fixture
def data() -> SegData:
    made = tiny_data()
    listed = {role: Listed([getattr(made, role)[i] for i in range(4)]) for role in ("select", "report")}
    return replace(made, **listed)


def moved(net: SegmentationNet) -> SegmentationNet:
    """The network on the GPU, within ``without_memory``."""
    return net.to(GPU).eval()


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_network_makes_all_that_it_adds_where_its_image_is(model: str) -> None:
    node = OmegaConf.to_container(OmegaConf.load(CONF / "model" / f"{model}.yaml"))
    node.pop("defaults", None)
    with weights_to_come(), torch.device("meta"):
        net = component(node, "model", runtime=("num_classes",))(num_classes=5).eval()
    with without_memory():  # and reads no value on the way
        logits = moved(net).all_logits(torch.zeros(2, 3, 64, 96, device=GPU))
    assert {head.device for head in logits} == {GPU}
    assert logits[0].shape == (2, 5, 64, 96)


@pytest.mark.parametrize("pruner", PRUNERS)
def test_every_criterion_scores_a_network_on_a_gpu(pruner: str) -> None:
    net, batches = toy(Plain), toy_batches()
    groups = [group for group in trace(net) if group.name != "bare"]
    with without_memory(answers=True):
        there = [Batch(image.to(GPU), label.to(GPU)) for image, label in batches]
        learned = learned_by(groups) if pruner == "dmcp" else {}
        calibration = Calibration(batches=there, loss=toy_loss, device=GPU, seed=0, learned=learned)
        scores = battery_of(pruner).build()(moved(net), groups, calibration)
    assert {score.device for score in scores.values()} == {torch.device("cpu")}
    assert [score.shape for score in scores.values()] == [(group.size,) for group in groups]


@pytest.mark.parametrize(("pruner", "reads_an_image"), [("apoz", 0), ("fgp", 1), ("sirfp", 0)])
def test_what_hooks_see_is_read_at_the_end(pruner: str, reads_an_image: int) -> None:
    net, reads = toy(Plain), []
    groups = [group for group in trace(net) if group.name != "bare"]
    for turns in (1, 3):
        with without_memory(answers=True) as gpu:
            there = [Batch(image.to(GPU), label.to(GPU)) for image, label in turns * toy_batches()]
            calibration = Calibration(batches=there, loss=toy_loss, device=GPU, seed=0)
            battery_of(pruner).build()(moved(net), groups, calibration)
        reads.append(gpu.reads)
    images = sum(len(image) for image, _ in toy_batches())
    assert reads[1] - reads[0] == 2 * images * reads_an_image  # fgp: which classes an image has


def test_statistics_of_norms_are_estimated_there(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    ctx = replace(ctx, hardware=replace(CPU, device=GPU))
    with without_memory(answers=True):
        calibration = CalibrationSet(images=4, batch_size=2).calibration(ctx, CrossEntropy(), 0.4)
        net = moved(Residual())
        reestimate_batchnorm(net, calibration.batches)
    assert {tensor.device for tensor in net.buffers()} == {GPU}


def test_evaluation_counts_there_and_reads_little(data: SegData) -> None:
    rules, options = Rules(boundary_width=0.02, small_object_area=0.01), {"workers": 0, "device": GPU}
    with without_memory(answers=False) as gpu:
        nets = [moved(Residual()), moved(Residual())]
        counts = evaluate(nets[0], data.select, num_classes=4, ignore_index=255, batch_size=2, **options)
        assert counts.device.type == "cpu"
        gpu.reads = 0
        found = assess(nets, nets[0], data, rules, batch_size=2, **options)
    assert {value.device.type for quality in found for value in vars(quality).values()} == {"cpu"}
    # per image: whether its labels are known, sizes of its objects; per image and network: two counts of pixels
    assert gpu.reads <= 4 * (2 + 2 * len(nets)) + 4 * len(nets)


def test_costs_latency_memory_and_loss_changes_are_measured_there(driver: Driver) -> None:
    net, batches = Residual(), toy_batches()
    groups, shape = trace(net), {"size_hw": (16, 16), "batch_size": 1, "device": GPU}
    with without_memory(answers=False):
        net = moved(net)
        timing = Timing(batch_size=1, rounds=2, warmup=0)
        times = interleaved([eager(net, GPU)] * 2, timing, size_hw=(16, 16), device=GPU, seed=0)
        assert times[0].rounds == 2
        assert driver.waits > 0
        driver.use(5_000_000)
        assert inference_peak_mb(net, **shape) == 0
        there = [Batch(image.to(GPU), label.to(GPU)) for image, label in batches]
        loss = segmentation_loss(CrossEntropy(), ignore_index=255, class_weights=None, aux_weight=0.0)
        changes = loss_changes(net, groups, [(groups[0].name, 0), (groups[0].name, 1)], there, loss, 2)
    assert changes.shape == (2,)


def step_of(kind: str, training: Training, steps: int) -> Step:
    """What makes the updates of a training of this kind, on a network on the GPU."""
    net = tiny_net()
    groups = trace(net)
    there = moved(net)
    if kind == "train":
        return Step(there, training, steps)
    if kind == "slimming":
        return SparseTraining(penalty=0.1, schedule=training.schedule).step(there, groups, training, steps)
    if kind == "cap":
        return cap(schedule=training.schedule).step(there, groups, training, steps)
    ranks = {group.name: torch.arange(group.size) for group in groups}
    target = Target(
        share=0.5, remaining=lambda keep: torch.stack([one.mean() for one in keep.values()]).mean()
    )
    phase = dmcp(gates_from=0.0, schedule={"epochs": 3})
    return MarkovStep(there, training, steps, phase=phase, groups=groups, ranks=ranks, target=target)


@pytest.mark.parametrize("capability", [(8, 0), (7, 5)], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("kind", ["train", "slimming", "cap", "dmcp"])
def test_every_training_updates_a_network_there_and_waits_for_nothing_but_its_losses(
    kind: str, capability: tuple[int, int], driver: Driver, tmp_path: Path
) -> None:
    driver.capability = capability
    schedule = tiny_schedule(epochs=3, accumulate=2, grad_clip=1.0)
    hardware = replace(CPU, device=GPU)
    training = Training(
        data=tiny_data(), schedule=schedule, seed=0, hardware=hardware, folder=tmp_path, on_epoch=print
    )
    batches, updates = [*toy_batches(), *toy_batches()], 2
    with without_memory(answers=False) as gpu:
        step = step_of(kind, training, len(batches))
        gpu.reads = gpu.number = 0  # nothing overflows
        step.epoch(batches, 0)
        assert step.scaler.is_enabled() is (capability == (7, 5))
        # the losses once; in float16, at each update, whether the gradients overflowed
        allowed = 1 + updates * step.scaler.is_enabled()
        if kind == "dmcp" and step.scaler.is_enabled():  # and so for the gates, with the scale
            allowed += 2 * updates
        assert gpu.reads <= allowed
        kept = step.state_dict()
        step.load_state_dict(kept)
        assert {value.device for value in step.net.state_dict().values()} == {GPU}
        step.facts()


class Mixing(Residual):
    """Adds a tensor that it makes on the CPU, whatever its image is on."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward(image) + torch.ones(16, 16)


def test_what_mixes_the_devices_is_refused() -> None:
    Mixing()(torch.zeros(1, 3, 16, 16))
    with without_memory(), pytest.raises(RuntimeError, match="same device"):
        moved(Mixing())(torch.zeros(1, 3, 16, 16, device=GPU))


def test_what_is_read_is_noticed() -> None:
    with without_memory():
        tensor = torch.zeros(2, device=GPU)
        for read in (bool, float, torch.Tensor.cpu):
            with pytest.raises(RuntimeError, match="a value was read"):
                read(tensor.sum())
