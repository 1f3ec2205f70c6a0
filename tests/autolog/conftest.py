"""Runs in a real store, and autolog that a test cannot leave on."""

from __future__ import annotations

import json

import pytest

import prefect_ml as ml
from prefect_ml.tracking import autolog, current
from prefect_ml.tracking.start import started


def entered_run():
    found = current.entered()
    return None if found is None else found.run


@pytest.fixture(autouse=True)
def isolated(monkeypatch):
    monkeypatch.setenv("PREFECT_ML_FLUSH_TIMEOUT", "20")
    monkeypatch.setenv("PREFECT_ML_FLUSH_INTERVAL", "0.05")
    monkeypatch.setenv("PREFECT_ML_WATCH", "false")
    monkeypatch.setattr(current._Finder, "find", staticmethod(entered_run))
    yield
    autolog.disable()


@pytest.fixture
def begin():
    """A run for the body of a `with`."""

    def run(name="fitting", parent=None):
        return started("autolog", name, parent=parent, tags=None, flow_run_id=None)

    return run


@pytest.fixture
def stored():
    """A run as the store has it."""
    return lambda run: ml.get_run(run.run_id)


@pytest.fixture
def inputs():
    """Name, context and rows of each input of a run."""

    def found(run):
        used = ml.get_run(run.run_id).inputs
        profiles = [json.loads(each.dataset.profile) for each in used]
        listed = [
            (each.dataset.name, each.tags["mlflow.data.context"], profile["num_rows"])
            for each, profile in zip(used, profiles, strict=True)
        ]
        assert len(set(listed)) == len(listed)
        return set(listed)

    return found
