"""A real store on each database, empty for every test, that gives all its connections back."""

from __future__ import annotations

import pytest

from prefect_ml.store import open_store


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request, tmp_path):
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store' / 'store.db'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def store(store_url):
    opened = open_store(store_url)
    yield opened
    assert opened.database.checked_out == 0, "a connection is left checked out"
    opened.close()
