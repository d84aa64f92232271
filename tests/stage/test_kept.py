from functools import partial
from pathlib import Path

import torch

from segprune.model.copies import ready
from segprune.stage.kept import origin_of, read_state, write_state
from segprune.store.store import Entry
from tests.tiny import tiny_context, tiny_data, tiny_net


def test_a_network_comes_back_bit_for_bit_and_ready_to_run(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    net = tiny_net().train()
    entry = ctx.store.get("train", "0123", partial(write_state, ctx=ctx, net=net, transforms=(), key="0123"))
    state = read_state(entry, ctx, "dense", accepted=["train"])
    assert not state.module.training
    image = tiny_data().report[0].image[None]
    assert torch.equal(state.net(image), ready(net, torch.device("cpu"))(image))
    assert (state.fingerprint, state.accepted, origin_of(entry)) == ("0123", {"train"}, "computed")


def test_an_accepted_result_is_told_from_a_reused_one(tmp_path: Path) -> None:
    entry = Entry(tmp_path, was_reused=True)
    assert origin_of(entry) == "reused"
    assert origin_of(Entry(tmp_path, was_reused=True, accepted=frozenset({"train"}))) == "accepted"
