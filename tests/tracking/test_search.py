import pytest

from segprune.tracking import search
from segprune.tracking.search import end_children, runs_where


@pytest.fixture
def parent_of_five(make, client):
    """Children of one sweep: two in each of two experiments still run, one has ended; another sweep's runs too."""
    name = make().experiment
    experiments = [client.create_experiment(f"{name}-{number}") for number in range(2)]
    tags = {"mlflow.parentRunId": name}
    ids = [client.create_run(number, tags=tags).info.run_id for number in experiments * 2]
    ended = client.create_run(experiments[0], tags=tags).info.run_id
    client.set_terminated(ended)
    other = client.create_run(experiments[0], tags={"mlflow.parentRunId": "other"}).info.run_id
    return name, ids, [ended, other]


@pytest.mark.parametrize("page", [1000, 1])
def test_children_are_ended_in_every_experiment_and_no_others(parent_of_five, client, monkeypatch, page):
    monkeypatch.setattr(search, "PAGE", page)
    name, ids, others = parent_of_five
    assert end_children(client, name) == 4
    assert {client.get_run(run_id).info.status for run_id in ids} == {"KILLED"}
    assert [client.get_run(run_id).info.status for run_id in others] == ["FINISHED", "RUNNING"]
    assert end_children(client, name) == 0


def test_deleted_runs_are_found_when_asked_for(parent_of_five, client):
    name, ids, _ = parent_of_five
    client.delete_run(ids[0])
    query = f"tags.`mlflow.parentRunId` = '{name}'"
    assert len(runs_where(client, query, is_deleted_too=False)) == 4
    assert len(runs_where(client, query, is_deleted_too=True)) == 5
