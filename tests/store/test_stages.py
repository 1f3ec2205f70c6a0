"""Stages on both databases."""

from __future__ import annotations

import pytest

from prefect_ml.entities import Stage
from prefect_ml.errors import InvalidInputError


@pytest.fixture
def model(store):
    store.create_registered_model("m")
    for _ in range(4):
        store.create_model_version("m", "s")
    return store


def stages(store):
    return [store.get_model_version("m", number).stage.value for number in range(1, 5)]


def test_a_version_moves_and_the_others_stay_unless_asked(model):
    before = model.get_model_version("m", 1)
    moved = model.transition_stage("m", 1, "staging")
    assert (moved.stage, moved.version) == (Stage.STAGING, 1)
    assert moved.last_updated_timestamp >= before.last_updated_timestamp
    model.transition_stage("m", 2, Stage.STAGING)
    assert stages(model) == ["Staging", "Staging", "None", "None"]
    model.transition_stage("m", 3, Stage.STAGING, archive_existing=True)
    assert stages(model) == ["Archived", "Archived", "Staging", "None"]
    model.transition_stage("m", 3, Stage.STAGING, archive_existing=True)
    assert stages(model) == ["Archived", "Archived", "Staging", "None"]
    changes = [entry.subject for entry in model.audit() if entry.action == "stage-changed"]
    assert changes == [f"models:/m/{n}" for n in (1, 2, 3, 1, 2)]


def test_an_unknown_stage_and_archiving_for_an_inactive_one_are_refused(model):
    for stage in (None, 5):
        with pytest.raises(InvalidInputError, match="stage"):
            model.transition_stage("m", 1, stage)
    for stage in ("unknown", ""):
        with pytest.raises(InvalidInputError, match=r"Invalid Model Version stage: .*\. Value must be one of None, "):
            model.transition_stage("m", 1, stage)
    for stage in (Stage.NONE, Stage.ARCHIVED):
        with pytest.raises(InvalidInputError, match="cannot archive existing model versions because"):
            model.transition_stage("m", 1, stage, archive_existing=True)
    assert stages(model) == ["None"] * 4


def test_the_highest_version_of_each_stage(model):
    model.transition_stage("m", 1, Stage.PRODUCTION)
    model.transition_stage("m", 2, Stage.PRODUCTION)
    model.transition_stage("m", 4, Stage.ARCHIVED)
    assert [v.version for v in model.latest_versions("m")] == [2, 3, 4]
    assert [v.version for v in model.latest_versions("m", ["production", "ARCHIVED"])] == [2, 4]
    assert model.latest_versions("m", [Stage.STAGING]) == []
    with pytest.raises(InvalidInputError, match="Invalid Model Version stage"):
        model.latest_versions("m", ["x"])
