import os
import shlex
import signal
import subprocess
import sys
from multiprocessing.util import register_after_fork

import numpy as np
import pytest
import torch

from segprune import stop
from segprune.dataset import loading
from segprune.dataset.augment import resized_crop
from segprune.dataset.contract import Batch
from segprune.dataset.items import ArraySource, FitItems
from segprune.dataset.loading import FitLoader, HostBatches, batches, calibration_batches
from segprune.errors import DataError
from tests.dataset.trees import labels, picture
from tests.tiny import tiny_data


class Numbered:
    """Item k is filled with k; sizes may differ."""

    def __init__(self, sizes_hw):
        self.sizes_hw = sizes_hw

    def __len__(self):
        return len(self.sizes_hw)

    def __getitem__(self, index):
        size = self.sizes_hw[index % len(self)]
        return Batch(torch.full((3, *size), float(index)), torch.full(size, index))


def numbers(batch):
    return batch.label[:, 0, 0].tolist()


def fit_items():
    return FitItems(
        ArraySource(np.stack([picture(k) for k in range(7)]), np.stack([labels(k, 5) for k in range(7)])),
        resized_crop({"crop_area": (0.3, 1.0), "flip": 0.5, "jitter": 0.2}, (12, 16)),
        0,
    )


def test_epoch_is_a_shuffle_whose_incomplete_batch_is_left_out():
    loader = FitLoader(Numbered([(2, 2)] * 7), batch_size=3, seed=0, workers=0)
    told = [numbers(batch) for batch in loader.epoch(2)]
    flat = [number for batch in told for number in batch]
    assert [len(batch) for batch in told] == [3, 3]
    assert len(loader) == 2
    assert len(set(flat)) == 6
    assert set(flat) <= set(range(14, 21))  # epoch 2 of 7 items: 14..20
    assert flat != sorted(flat)


def test_epoch_depends_on_seed_and_number_only():
    def order(seed, number, warm_up=0):
        loader = FitLoader(Numbered([(2, 2)] * 20), batch_size=4, seed=seed, workers=0)
        for earlier in range(warm_up):
            next(iter(loader.epoch(earlier)))
        return [[n % 20 for n in numbers(batch)] for batch in loader.epoch(number)]

    assert order(0, 3) == order(0, 3, warm_up=3)
    assert order(0, 3) != order(0, 4)
    assert order(0, 3) != order(1, 3)


def test_over_epochs_every_item_is_seen():
    loader = FitLoader(Numbered([(2, 2)] * 7), batch_size=3, seed=0, workers=0)
    assert {n % 7 for epoch in range(6) for batch in loader.epoch(epoch) for n in numbers(batch)} == set(
        range(7)
    )


def test_workers_change_no_bit_of_training_and_persist_over_epochs():
    here = FitLoader(fit_items(), batch_size=2, seed=4, workers=0)
    there = FitLoader(fit_items(), batch_size=2, seed=4, workers=2)
    for epoch in (0, 1, 5):
        pairs = list(zip(here.epoch(epoch), there.epoch(epoch), strict=True))
        assert len(pairs) == 3
        assert all(torch.equal(a.image, b.image) and torch.equal(a.label, b.label) for a, b in pairs)


class Signals(Numbered):
    """Label: whether the process that makes the item ignores SIGINT, SIGUSR1 and SIGUSR2."""

    def __getitem__(self, index):
        numbers = signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2
        ignored = [signal.getsignal(number) == signal.SIG_IGN for number in numbers]
        return Batch(torch.zeros(3, 1, 3), torch.tensor([ignored]))


def test_workers_leave_signals_to_the_parent():
    told = [
        *FitLoader(Signals([(1, 3)] * 2), batch_size=2, seed=0, workers=1).epoch(0),
        *batches(Signals([(1, 3)] * 2), batch_size=2, workers=1),
    ]
    assert [batch.label.tolist() for batch in told] == [[[[True] * 3]] * 2] * 2


def test_workers_survive_what_a_scheduler_sends_to_the_whole_group():
    loader = FitLoader(Numbered([(2, 2)] * 12), batch_size=2, seed=0, workers=2)
    epoch = loader.epoch(0)
    seen = [number for _ in range(4) for number in numbers(next(epoch))]  # both have begun
    for worker in loader._loader._iterator._workers:
        os.kill(worker.pid, signal.SIGTERM)
    seen += [number for batch in epoch for number in numbers(batch)]
    assert sorted(seen) == list(range(12))
    assert len([*loader.epoch(1)]) == 6


@pytest.mark.parametrize("load", [
    lambda items: FitLoader(items, batch_size=2, seed=0, workers=2).epoch(0),
    lambda items: batches(items, batch_size=2, workers=2),
])  # fmt: skip
def test_workers_survive_a_signal_that_comes_before_they_can_deal_with_it(load):
    class Told:
        """Registered as long as it is there."""

    told = Told()
    register_after_fork(told, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    assert sorted(n for batch in load(Numbered([(2, 2)] * 12)) for n in numbers(batch)) == list(range(12))
    del told
    assert not {signal.SIGTERM, signal.SIGINT} & signal.pthread_sigmask(signal.SIG_BLOCK, ())


LEFT_OPEN = """
from segprune.dataset.contract import Batch
from segprune.dataset.loading import FitLoader
import torch
class Items:
    def __len__(self): return 8
    def __getitem__(self, index): return Batch(torch.ones(3, 2, 2), torch.ones(2, 2))
loader = FitLoader(Items(), batch_size=2, seed=0, workers=2)
epoch = loader.epoch(0)
next(epoch)
held = [loader._loader, loader._loader._iterator]
held.append(held)  # a circle, so that nothing is taken down before the end
"""


@pytest.mark.slow
def test_a_process_ends_although_its_workers_are_still_there():
    done = subprocess.run(
        [sys.executable, "-c", LEFT_OPEN], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


class Deadly(Numbered):
    """The process that makes the item ends."""

    def __getitem__(self, index):
        os._exit(7)


@pytest.mark.parametrize("load", [
    lambda items: FitLoader(items, batch_size=2, seed=0, workers=1).epoch(0),
    lambda items: batches(items, batch_size=2, workers=1),
])  # fmt: skip
def test_a_worker_that_dies_is_one_sentence_with_a_remedy(load):
    with pytest.raises(DataError, match=r"a data loading process ended: DataLoader worker .* Give workers=0"):
        list(load(Deadly([(2, 2)] * 4)))


def test_a_worker_that_dies_after_a_request_to_end_is_part_of_the_end(monkeypatch):
    monkeypatch.setattr(stop, "_asked", [signal.SIGTERM])
    with pytest.raises(SystemExit) as ended:
        list(batches(Deadly([(2, 2)] * 4), batch_size=2, workers=1))
    assert ended.value.code == 143


SMALL_SHM = """
import sys, torch
from segprune.dataset.contract import Batch
from segprune.dataset.loading import FitLoader
from segprune.shortage import shortage
class Large:
    def __len__(self): return 8
    def __getitem__(self, index): return Batch(torch.ones(3, 512, 512), torch.ones(512, 512))
try:
    list(FitLoader(Large(), batch_size=2, seed=0, workers=2).epoch(0))
except RuntimeError as error:
    sys.exit(shortage(error, {"workers": 2}.get) or f"not told: {error}")
"""


@pytest.mark.slow
def test_a_small_shm_ends_the_training_instead_of_hanging():
    mounted = "mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "
    command = ["unshare", "--mount", "sh", "-c", mounted + shlex.join([sys.executable, "-c", SMALL_SHM])]
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    assert "the memory that data loading processes share ran out" in done.stderr.splitlines()[-1]
    assert "Lower workers (2) to 0, or make /dev/shm larger" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("pin_memory", [True, False])
def test_batches_are_page_locked_where_asked(monkeypatch, pin_memory):
    asked = []
    monkeypatch.setattr(
        torch.Tensor, "pin_memory", lambda tensor: asked.append(tuple(tensor.shape)) or tensor
    )
    told = list(batches(Numbered([(2, 2)] * 3), batch_size=2, workers=0, pin_memory=pin_memory))
    assert [numbers(batch) for batch in told] == [[0, 1], [2]]
    stacked = [(2, 3, 2, 2), (2, 2, 2), (1, 3, 2, 2), (1, 2, 2)]  # whole batches, image and label
    assert asked == (stacked if pin_memory else [])


@pytest.mark.parametrize("pin_memory", [True, False])
def test_the_training_loader_pins_where_asked(monkeypatch, pin_memory):
    asked = []

    class Recorded(loading.DataLoader):
        def __init__(self, *args, pin_memory, **options):
            asked.append(pin_memory)
            super().__init__(*args, **options)

    monkeypatch.setattr(loading, "DataLoader", Recorded)
    FitLoader(Numbered([(2, 2)] * 2), batch_size=2, seed=0, workers=0, pin_memory=pin_memory)
    assert asked == [pin_memory]


def test_loading_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    list(FitLoader(fit_items(), batch_size=2, seed=4, workers=0).epoch(0))
    list(batches(Numbered([(2, 2)]), batch_size=2, workers=0))
    calibration_batches(Numbered([(2, 2)] * 3), count=2, batch_size=2, seed=0)
    assert torch.equal(before, torch.get_rng_state())


def test_set_smaller_than_a_batch_is_refused():
    with pytest.raises(
        DataError, match=r"batch_size is 8 but there are only 7 training images; lower batch_size"
    ):
        FitLoader(Numbered([(2, 2)] * 7), batch_size=8, seed=0, workers=0)
    assert len(FitLoader(Numbered([(2, 2)] * 7), batch_size=7, seed=0, workers=0)) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_keep_the_order_and_break_where_sizes_change(workers):
    a, b = (2, 2), (3, 2)
    told = [
        numbers(batch) for batch in batches(Numbered([a, a, a, b, a, b, b]), batch_size=2, workers=workers)
    ]
    assert told == [[0, 1], [2], [3], [4], [5, 6]]


def test_batches_break_where_only_the_label_changes_size():
    class OtherLabel(Numbered):
        def __getitem__(self, index):
            return super().__getitem__(index)._replace(label=torch.full((2 + index // 2, 2), index))

    assert [numbers(batch) for batch in batches(OtherLabel([(2, 2)] * 4), batch_size=4, workers=0)] == [
        [0, 1],
        [2, 3],
    ]


def drawn(count, n=10, batch_size=3, seed=0):
    return [
        numbers(b)
        for b in calibration_batches(Numbered([(2, 2)] * n), count=count, batch_size=batch_size, seed=seed)
    ]


def test_calibration_draws_without_replacement_and_joins_a_lone_last_image():
    # 7 = 3 + 3 + 1 -> 3 + 4; 8 = 3 + 3 + 2; a single image has no batch to join
    assert [len(part) for part in drawn(7)] == [3, 4]
    assert [len(part) for part in drawn(8)] == [3, 3, 2]
    assert [len(part) for part in drawn(1)] == [1]
    assert len({n for part in drawn(7) for n in part}) == 7


def test_calibration_takes_all_when_there_are_fewer_than_asked():
    assert sorted(n for part in drawn(99) for n in part) == list(range(10))


def test_calibration_depends_on_its_seed_and_fewer_are_the_first_of_more():
    assert drawn(6) == drawn(6)
    assert drawn(6) != drawn(6, seed=1)
    assert drawn(3) == drawn(6)[:1]


@pytest.mark.parametrize("kind", ["cpu", "meta"])
def test_batches_stay_in_the_hosts_memory_until_they_are_taken(kind: str) -> None:
    items = [tiny_data().fit[index] for index in range(4)]
    batch = Batch(
        torch.stack([i.image for i in items]), torch.stack([i.label for i in items]).to(torch.uint8)
    )
    held = HostBatches([batch, batch], torch.device(kind))
    assert {one.image.device.type for one in held._held} == {"cpu"}
    taken = [held[0], held[-1], *held, *held[1:]]
    assert len(held) == 2
    assert len(taken) == 5
    for one in taken:
        assert one.image.device.type == one.label.device.type == kind
        assert one.image.is_contiguous(memory_format=torch.channels_last)
        assert one.label.dtype == torch.int64
    if kind == "cpu":
        assert torch.equal(taken[0].image, batch.image)
        assert torch.equal(taken[0].label, batch.label.long())
        assert held[0].image is held[0].image  # it is there: nothing is copied
