"""Which logged models runs used and made."""

from __future__ import annotations

import pytest

from prefect_ml.entities import ModelOutput
from prefect_ml.errors import InactiveError, InvalidInputError, InvalidNameError, NotFoundError


@pytest.fixture
def run(store):
    return store.create_run("0").run_id


def test_a_run_tells_which_models_it_used_and_made(store, run):
    model = store.create_logged_model("0", source_run_id=run).model_id
    store.log_inputs(run, [], models=["m-b", "m-a", "m-b"])
    store.log_outputs(run, [ModelOutput(model, 3), ModelOutput("m-elsewhere", 1)])
    found = store.get_run(run)
    assert list(found.model_inputs) == ["m-a", "m-b"]
    assert list(found.model_outputs) == [ModelOutput("m-elsewhere", 1), ModelOutput(model, 3)]
    other = store.create_run("0", start_time=1).run_id
    first, second = store.search_runs(["0"]).items
    assert (first, second.run_id, list(second.model_inputs)) == (found, other, [])


def test_the_same_again_changes_nothing_and_a_later_step_stays(store, run):
    for step in (3, 3, 5):
        store.log_inputs(run, [], models=["m-a"])
        store.log_outputs(run, [ModelOutput("m-a", step)])
    store.log_outputs(run, [])
    found = store.get_run(run)
    assert (list(found.model_inputs), list(found.model_outputs)) == (["m-a"], [ModelOutput("m-a", 5)])


def test_more_than_a_statement_takes_at_once(store, run):
    outputs = [ModelOutput(f"m-{number:04}", number) for number in range(1500)]
    store.log_outputs(run, outputs)
    store.log_inputs(run, [], models=[model_id for model_id, _ in outputs])
    found = store.get_run(run)
    assert list(found.model_outputs) == outputs
    assert list(found.model_inputs) == [model_id for model_id, _ in outputs]


@pytest.mark.parametrize(
    ("output", "error"),
    [
        (ModelOutput("churn", 0), InvalidNameError),
        (ModelOutput("m-\x00", 0), InvalidInputError),
        (ModelOutput("m-a", 2**63), InvalidInputError),
        (ModelOutput("m-a", 1.5), InvalidInputError),
    ],
)
def test_what_is_none_is_refused_whole(store, run, output, error):
    with pytest.raises(error):
        store.log_outputs(run, [ModelOutput("m-good", 1), output])
    assert list(store.get_run(run).model_outputs) == []


def test_a_run_that_is_deleted_or_unknown_takes_none(store, run):
    store.delete_run(run)
    for write in (
        lambda run_id: store.log_outputs(run_id, [ModelOutput("m-a", 1)]),
        lambda run_id: store.log_inputs(run_id, [], models=["m-a"]),
        lambda run_id: store.append_to_tag(run_id, "t", 1),
    ):
        with pytest.raises(InactiveError, match="must be in the 'active' state"):
            write(run)
        with pytest.raises(NotFoundError, match="Run with id=nobody not found"):
            write("nobody")
