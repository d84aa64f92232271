import inspect

import matplotlib.pyplot as plt
import pytest

from segprune.tracking.contract import RunStart
from segprune.tracking.mlflow_run import MlflowRun
from segprune.tracking.mlflow_tracker import MlflowTracking
from segprune.tracking.silent import SilentRun, SilentTracking


def test_everything_is_taken_and_nothing_is_written(tmp_path):
    tracking = SilentTracking()
    run = tracking.open(RunStart(name="x", kind="job", folder=tmp_path))
    run.params({"ratio": 0.3})
    run.metrics({"eval/miou": 70.0}, step=1)
    run.file(tmp_path / "no such file", "folder")
    run.text("x", "a.txt")
    run.figure(plt.figure(), "b.png")
    plt.close("all")
    run.tags({"a": "b"})
    run.note("# x")
    run.dataset(name="streets", digest="0", split="train", profile={})
    run.close("FINISHED")
    assert (run.run_id, run.url_hint) == ("", "")
    tracking.discard("x")
    tracking.end("x")
    assert (tracking.close_children("x"), tracking.replay(tmp_path)) == (0, 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("silent", "real"), [(SilentRun, MlflowRun), (SilentTracking, MlflowTracking)])
def test_it_offers_what_the_real_one_offers(silent, real):
    def offered(kind):
        methods = inspect.getmembers(kind, inspect.isfunction)
        public = {name: inspect.signature(method).parameters for name, method in methods if name[0] != "_"}
        return {name: [(p.name, p.kind, p.default) for p in given.values()] for name, given in public.items()}

    assert offered(silent) == offered(real)
