"""What the runs of experiments used, each data set once for each use."""

from __future__ import annotations

from prefect_ml.entities import Dataset, DatasetInput, DatasetSummary


def used(name, digest, context=None):
    tags = {"other": "x"} if context is None else {"mlflow.data.context": context, "other": "x"}
    return DatasetInput(Dataset(name, digest, "local", "{}"), tags)


def test_each_is_told_once_by_experiment_name_digest_and_context(store):
    other = store.create_experiment("other")
    for experiment in ("0", "0", other):
        run = store.create_run(experiment).run_id
        store.log_inputs(run, [used("b", "1", "training"), used("a", "1", "training"), used("a", "2")])
    evaluated = store.create_run("0").run_id
    store.log_inputs(evaluated, [used("a", "1", "evaluation")])
    default = [
        DatasetSummary("0", "a", "1", "evaluation"),
        DatasetSummary("0", "a", "1", "training"),
        DatasetSummary("0", "a", "2", ""),
        DatasetSummary("0", "b", "1", "training"),
    ]
    assert list(store.search_datasets(["0"])) == default
    theirs = [each for each in store.search_datasets([other, "0", "99"]) if each.experiment_id == other]
    assert [(each.name, each.digest) for each in theirs] == [("a", "1"), ("a", "2"), ("b", "1")]
    store.delete_run(evaluated)
    assert list(store.search_datasets(["0"])) == default[1:]
    assert list(store.search_datasets([])) == []


def test_at_most_a_thousand(store):
    run = store.create_run("0").run_id
    store.log_inputs(run, [used(f"n{number:04}", "1") for number in range(1001)])
    found = store.search_datasets(["0"])
    assert (len(found), found[-1].name) == (1000, "n0999")
