from dataclasses import replace

import pytest

from segprune.errors import ConfigError
from segprune.stage.state import NetState
from tests.tiny import tiny_net


def test_a_runner_is_no_network_to_train_or_cut() -> None:
    net = tiny_net()
    state = NetState(name="dense", net=net, transforms=(), fingerprint="ab")
    assert state.module is net
    with pytest.raises(ConfigError, match=r"dense is a runner \(function\), which can only be evaluated"):
        replace(state, net=lambda image: image).module  # noqa: B018 - refuses
