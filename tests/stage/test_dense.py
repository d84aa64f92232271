from dataclasses import replace
from pathlib import Path

from segprune.checkpoint.ancestry import Ancestry, Step
from segprune.stage.dense import is_orphan, shell
from segprune.stage.state import NetState
from tests.tiny import tiny_context, tiny_net


def test_a_shell_has_the_shapes_of_the_dense_network(tmp_path: Path) -> None:
    ctx = tiny_context(tmp_path)
    shapes = [tensor.shape for tensor in shell(ctx).state_dict().values()]
    assert shapes == [tensor.shape for tensor in ctx.build().state_dict().values()]


def test_a_network_that_was_made_of_another_has_its_dense_one_elsewhere() -> None:
    net = NetState(name="start", net=tiny_net(), transforms=(), fingerprint="ab")
    past = Ancestry(network="dense", fingerprint="ab", weights_sha256=None, place=None)
    assert not is_orphan(net)
    assert not is_orphan(replace(net, ancestry=past))
    assert is_orphan(replace(net, ancestry=past.then(Step(network="tuned", label="ft"))))
