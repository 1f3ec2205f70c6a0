"""What was champion at a time."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

import prefect_ml as ml
from prefect_ml.errors import InvalidInputError, NotFoundError
from prefect_ml.registry.history import moment


@pytest.fixture
def times():
    """A moment before and after each of four changes of an alias: set, moved, deleted, set again."""
    store = ml.open_store()
    store.create_registered_model("m")
    for _ in range(2):
        store.create_model_version("m", "s")
    found = [datetime.now(UTC)]
    for work in (
        lambda: store.set_alias("m", "champion", 1, actor="ann"),
        lambda: store.set_alias("m", "champion", 2, actor="bob"),
        lambda: store.delete_alias("m", "champion"),
        lambda: store.set_alias("m", "champion", 1, actor="cem"),
    ):
        time.sleep(0.002)
        work()
        time.sleep(0.002)
        found.append(datetime.now(UTC))
    return found


def test_an_alias_is_found_as_it_was(times):
    before, first, second, deleted, again = times
    at = ml.get_alias("m", at=first)
    assert (at.version, at.generation, at.previous_version, at.moved_by) == (1, 1, None, "ann")
    at = ml.get_alias("m", "champion", at=int(second.timestamp() * 1000))
    assert (at.version, at.generation, at.previous_version, at.moved_by) == (2, 2, 1, "bob")
    for time_without in (before, deleted):
        with pytest.raises(NotFoundError, match=r"pointed nowhere at .*prefect-ml models history m champion"):
            ml.get_alias("m", at=time_without)
    assert ml.get_alias("m", at=again) == ml.get_alias("m")
    assert ml.get_alias("m", at=again + timedelta(days=9)) == ml.get_alias("m")


def test_a_time_without_a_zone_is_of_here_and_another_zone_is_understood(times):
    here = times[1].astimezone().replace(tzinfo=None)
    elsewhere = times[1].astimezone(tz=None).isoformat()
    assert ml.get_alias("m", at=here) == ml.get_alias("m", at=moment(elsewhere)) == ml.get_alias("m", at=times[1])


def test_an_alias_of_a_model_that_is_gone_is_found(times):
    ml.open_store().delete_registered_model("m")
    assert ml.get_alias("m", at=times[2]).version == 2


@pytest.mark.parametrize(
    "at", [-1, 2**63, True, "2026-11-01", 1.5, datetime.min.replace(tzinfo=UTC), datetime(1900, 1, 1, tzinfo=UTC)]
)
def test_what_is_no_time_is_refused(at):
    with pytest.raises(InvalidInputError, match="is no time since 1970"):
        ml.get_alias("m", at=at)


@pytest.mark.parametrize("text", ["", "now", "2026-13-01", "12:00", "2026-11-01T25:00"])
def test_what_is_no_text_of_a_time_is_refused(text):
    with pytest.raises(InvalidInputError, match="write it like 2026-11-01T12:00"):
        moment(text)
