"""The rows of a query of somebody's database."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, text

from prefect_ml.errors import InvalidInputError, StoreUnavailableError
from prefect_ml.store.query_rows import query_rows


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    found = (
        f"sqlite:///{tmp_path / 'some.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    )
    engine = create_engine(found)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE things (n INTEGER, name TEXT)"))
        rows = [{"n": n, "name": f"a%:{n}"} for n in range(25)]
        connection.execute(text("INSERT INTO things VALUES (:n, :name)"), rows)
    engine.dispose()
    return found


def test_rows_come_in_batches_and_the_query_is_taken_as_it_stands(url):
    query = "SELECT n, name AS \"who\" FROM things WHERE name LIKE 'a%:%' AND ':n' = ':n' ORDER BY n"
    with query_rows(url, query, 10) as (columns, batches):
        found = [list(batch) for batch in batches]
    assert columns == ["n", "who"]
    assert [len(batch) for batch in found] == [10, 10, 5]
    assert found[2][4] == (24, "a%:24")
    if url.startswith("postgresql"):
        with query_rows(url, "SELECT '7'::int AS seven", 10) as (_, batches):
            assert [list(batch) for batch in batches] == [[(7,)]]


def test_nothing_is_written(url):
    refused = pytest.raises(InvalidInputError, match=r"write a SELECT|refuses the query")
    with refused, query_rows(url, "DELETE FROM things", 10):
        pass
    with query_rows(url, "SELECT count(*) AS n FROM things", 10) as (_, batches):
        assert [list(batch) for batch in batches] == [[(25,)]]


def test_what_is_wrong_is_said_without_the_password(url):
    with pytest.raises(InvalidInputError, match="refuses the query"), query_rows(url, "SELECT nothing FROM things", 10):
        pass
    with (
        pytest.raises(StoreUnavailableError, match="cannot be reached") as raised,
        query_rows("postgresql+psycopg://me:hunter2@127.0.0.1:9/none", "SELECT 1", 10),
    ):
        pass
    assert "hunter2" not in str(raised.value)
    with (
        pytest.raises(InvalidInputError, match="URL cannot be used") as refused,
        query_rows("no://me:hunter2@x", "", 1),
    ):
        pass
    assert "hunter2" not in str(refused.value)
