"""The database below the store: opening, upgrading, group commit, and failures with a name."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import NoneType

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

from prefect_ml.entities import Metric
from prefect_ml.errors import InvalidInputError, NotFoundError, StoreUnavailableError, StoreVersionError, WouldWaitError
from prefect_ml.store import open_store
from prefect_ml.store.database import Database
from prefect_ml.store.migrations import FOLDER, revisions
from prefect_ml.store.sql import SqlStore
from prefect_ml.store.tables import metadata
from prefect_ml.store.upgrade import upgrade


def test_the_same_store_is_shared_until_it_is_closed(empty_url):
    store = open_store(empty_url)
    assert open_store(empty_url) is store
    store.create_run("0", run_id="r1")
    store.close()
    store.close()
    again = open_store(empty_url)
    assert again is not store
    assert again.get_run("r1") == store.get_run("r1"), "a closed store opens again by itself"
    store.close()
    again.close()


def test_the_default_store_lies_below_the_home(home):
    store = open_store()
    assert store.url == f"sqlite:///{home / 'store.db'}"
    assert store.get_experiment("0").artifact_location == str(home / "artifacts" / "0")
    store.close()


def test_the_folder_of_a_store_is_the_owners_alone(tmp_path):
    open_store(f"sqlite:///{tmp_path / 'a' / 'b' / 'store.db'}").close()
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    for file in (tmp_path / "a" / "b").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_store_stays_where_it_is_when_the_working_directory_changes(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    store = open_store("sqlite:///store.db")
    monkeypatch.chdir(tmp_path / "two")
    with ThreadPoolExecutor(4) as pool:
        assert len({run.run_id for run in pool.map(lambda _: store.create_run("0"), range(8))}) == 8
    store.close()
    store.create_run("0", run_id="after")
    store.close()
    assert list((tmp_path / "two").iterdir()) == []


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "mysql://u:secret@h/d",
        "nonsense",
        "",
        "http://h:5000",
        "oracle://u:secret@h",
    ],
)
def test_a_url_that_no_store_can_be_kept_at_is_refused_without_its_password(url):
    with pytest.raises(InvalidInputError) as caught:
        Database(url)
    assert "secret" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_unreachable_server_is_named_without_the_password():
    url = "postgresql://ann:secret@127.0.0.1:1/db"
    with pytest.raises(StoreUnavailableError) as caught:
        open_store(url)
    assert "postgresql+psycopg://ann:***@127.0.0.1:1/db" in str(caught.value)
    assert "secret" not in str(caught.value) + repr(Database(url)) + Database(url).url
    assert (
        Database("postgresql://h/d?password=secret&sslmode=require").url == "postgresql+psycopg://h/d?sslmode=require"
    )


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "store.db").write_bytes(b"this is no database" * 1000)
    with pytest.raises(StoreUnavailableError, match="cannot be used now: file is not a database"):
        open_store(f"sqlite:///{tmp_path / 'store.db'}")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailableError, match=r"is no file|cannot be made"):
        open_store(f"sqlite:///{tmp_path / 'file' / 'store.db'}")


def test_a_newer_schema_is_refused_and_left_alone(empty_url):
    open_store(empty_url).close()
    engine = create_engine(empty_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'r9999'"))
    with pytest.raises(StoreVersionError, match="r9999, which is newer than this release knows"):
        open_store(empty_url)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "r9999"
    engine.dispose()


def test_the_migrations_make_the_tables_of_this_release(empty_url):
    open_store(empty_url).close()
    made = create_engine(empty_url)
    if made.dialect.name == "postgresql":
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        with made.connect() as connection:
            differences = compare_metadata(MigrationContext.configure(connection), metadata)
        made.dispose()
        assert differences == []
        return
    meant = create_engine("sqlite://")
    metadata.create_all(meant)
    assert schema(made) == schema(meant)
    made.dispose()
    meant.dispose()


def schema(engine):
    """Each table's columns and each index's, with what decides how they are kept."""
    found = {}
    with engine.connect() as connection:
        names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        for name in connection.execute(text(names)).scalars().all():
            if name == "alembic_version":
                continue
            columns = connection.exec_driver_sql(f"PRAGMA table_info({name})").all()
            sql = connection.execute(text("SELECT sql FROM sqlite_master WHERE name = :n"), {"n": name}).scalar()
            indexes = connection.execute(
                text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = :n AND sql NOT NULL"),
                {"n": name},
            ).all()
            found[name] = (
                {(column.name, column.type, column.notnull, column.pk) for column in columns},
                "WITHOUT ROWID" in sql,
                "AUTOINCREMENT" in sql,
                sorted(map(tuple, indexes)),
                len(connection.exec_driver_sql(f"PRAGMA foreign_key_list({name})").all()),
            )
    return found


def test_each_migration_names_its_file_and_its_forerunner():
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())[::-1]
    assert [script.revision for script in scripts] == list(revisions())
    assert [script.down_revision for script in scripts] == [None, *revisions()[:-1]]


def test_opening_an_up_to_date_store_does_not_import_alembic(tmp_path):
    url = f"sqlite:///{tmp_path / 'store.db'}"
    open_store(url).close()
    code = (
        "import sys; from prefect_ml.store import open_store; s = open_store(sys.argv[1]);"
        "s.get_experiment('0'); s.close(); sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, url], check=True, timeout=60)


def test_importing_the_room_does_not_import_sqlalchemy():
    code = "import sys, prefect_ml.store, prefect_ml.store.names; sys.exit('sqlalchemy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.fixture(params=[False, True], ids=["thread", "leader"])
def uninterrupted(request):
    """Whether a thread of its own commits, or that of the first write."""
    return request.param


@pytest.fixture
def sqlite_store(tmp_path, uninterrupted):
    database = Database(f"sqlite:///{tmp_path / 'store.db'}", uninterrupted=uninterrupted)
    upgrade(database)
    yield SqlStore(database, str(tmp_path / "artifacts"))
    database.close()


def test_writes_that_wait_share_a_transaction_and_one_that_fails_hurts_no_other(tmp_path, uninterrupted):
    database = Database(f"sqlite:///{tmp_path / 'store.db'}", uninterrupted=uninterrupted)
    database.write(lambda connection: connection.exec_driver_sql("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
    began, go = threading.Event(), threading.Event()

    def hold(connection):
        began.set()
        assert go.wait(30)
        return connection.exec_driver_sql("PRAGMA data_version").scalar()

    def insert(number):
        def work(connection):
            connection.exec_driver_sql("INSERT INTO t VALUES (?)", (number,))
            if number % 3 == 0:
                raise NotFoundError(f"number {number}")
            return number

        try:
            return database.write(work)
        except NotFoundError as error:
            return str(error)

    with ThreadPoolExecutor(32) as pool:
        first = pool.submit(database.write, hold)
        assert began.wait(30)
        waiting = [pool.submit(insert, number) for number in range(30)]
        while len(database._writer._waiting) < 30:
            assert not any(future.done() for future in waiting)
        watcher = sqlite3.connect(tmp_path / "store.db")
        before = watcher.execute("PRAGMA data_version").fetchone()
        go.set()
        first.result()
        answers = [future.result() for future in waiting]
    assert answers == [f"number {n}" if n % 3 == 0 else n for n in range(30)]
    assert [n for (n,) in watcher.execute("SELECT n FROM t")] == [n for n in range(30) if n % 3]
    assert watcher.execute("PRAGMA data_version").fetchone()[0] - before[0] <= 2
    watcher.close()
    database.close()


def test_closing_while_others_write_loses_nothing(sqlite_store):
    store = sqlite_store
    run = store.create_run("0").run_id
    with ThreadPoolExecutor(5) as pool:
        writes = [pool.submit(store.log_batch, run, params={f"p{n}": "1"}) for n in range(200)]
        for _ in range(20):
            store.close()
        for write in writes:
            write.result(60)
    assert len(store.get_run(run).params) == 200
    store.close()


def test_a_write_inside_a_write_is_a_mistake(tmp_path, uninterrupted):
    database = Database(f"sqlite:///{tmp_path / 'store.db'}", uninterrupted=uninterrupted)
    with pytest.raises(RuntimeError, match="inside a write"):
        database.write(lambda _: database.write(lambda _: None))
    database.close()


def test_many_threads_write_one_after_the_other_and_all_at_once(sqlite_store):
    run = sqlite_store.create_run("0").run_id

    def write(number):
        for n in range(50):
            sqlite_store.log_batch(run, metrics=[Metric(f"m{number}", float(n), n, n)])
            if n % 10 == 0:
                with pytest.raises(NotFoundError):
                    sqlite_store.log_batch("none", params={"a": "b"})
        return number

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(write, range(8))) == list(range(8))
    assert sqlite_store.get_run(run).metrics == {f"m{number}": 49.0 for number in range(8)}
    for number in range(8):
        assert len(sqlite_store.get_metric_history(run, f"m{number}").items) == 50


def test_writes_that_may_not_wait_are_done_at_once_or_not_at_all(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'store.db'}", uninterrupted=True)
    database.write(lambda connection: connection.exec_driver_sql("CREATE TABLE t (n INTEGER PRIMARY KEY)"))

    def insert(number):
        return lambda connection: connection.exec_driver_sql("INSERT INTO t VALUES (?)", (number,))

    def at_once(*numbers):
        return database.at_once([partial(database.write, insert(number)) for number in numbers])

    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(WouldWaitError):
        at_once(1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(database.write, insert(2))
        with pytest.raises(WouldWaitError):
            at_once(3, 3)
        other.execute("COMMIT")
        waiting.result(30)
    assert [error for _, error in at_once(4, 5)] == [None, None]
    assert [n for (n,) in other.execute("SELECT n FROM t")] == [2, 4, 5]
    other.close()
    database.close()


def test_of_writes_that_are_done_at_once_each_may_fail_by_itself(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'store.db'}", uninterrupted=True)
    database.write(lambda connection: connection.exec_driver_sql("CREATE TABLE t (n INTEGER PRIMARY KEY)"))

    def insert(*numbers):
        def call():
            for number in numbers:
                database.write(lambda c, number=number: c.exec_driver_sql("INSERT INTO t VALUES (?)", (number,)))
            with database.read() as connection:
                return connection.exec_driver_sql("SELECT count(*) FROM t").scalar()

        return call

    def fails():
        insert(7)()
        raise NotFoundError("Nothing is there.")

    results, errors = zip(*database.at_once([insert(1), insert(2, 1), fails, insert(3)]), strict=True)
    assert results == (1, None, None, 2)
    assert [type(error) for error in errors] == [NoneType, IntegrityError, NotFoundError, NoneType]
    [(_, alone)] = database.at_once([fails])
    assert isinstance(alone, NotFoundError)
    assert database.at_once([insert(4)]) == [(3, None)]
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT n FROM t").scalars().all() == [1, 3, 4]
    database.close()


def test_writes_that_wait_go_on_after_one_that_was_done_at_once(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'store.db'}", uninterrupted=True)
    database.write(lambda connection: connection.exec_driver_sql("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
    with ThreadPoolExecutor(4) as pool:
        waiting = []

        def call():
            def insert(connection, number):
                connection.exec_driver_sql("INSERT INTO t VALUES (?)", (number,))

            waiting.extend(pool.submit(database.write, partial(insert, number=number)) for number in range(4))
            while len(database._writer._waiting) < 4:
                assert not any(future.done() for future in waiting)
            return "done"

        assert database.at_once([call]) == [("done", None)]
        for future in waiting:
            future.result(30)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT n FROM t ORDER BY n").scalars().all() == [0, 1, 2, 3]
    database.close()


RECOVERING = """
import fcntl, sys
index = open(sys.argv[1] + "-shm", "r+b")
for byte in (120, 122):  # of the locks by which SQLite writes, and by which it recovers the journal
    fcntl.lockf(index, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
index.write(bytes(96))  # as if its writer had died within
index.flush()
print(flush=True)
sys.stdin.readline()
"""


def test_a_write_waits_while_another_process_recovers_the_file_after_a_crash(sqlite_store, tmp_path):
    run = sqlite_store.create_run("0").run_id
    command = [sys.executable, "-c", RECOVERING, tmp_path / "store.db"]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        assert other.stdout.readline() == "\n"
        waiting = pool.submit(sqlite_store.log_batch, run, tags={"a": "b"})
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        other.communicate("\n", 30)
        waiting.result(30)
    assert sqlite_store.get_run(run).tags["a"] == "b"


@pytest.mark.parametrize("url", ["sqlite:///store.db", "postgresql://127.0.0.1:1/none"])
def test_only_a_servers_own_file_is_written_at_once(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WouldWaitError):
        Database(url).at_once([lambda: pytest.fail("never reached")])


def test_a_full_disk_loses_nothing_acknowledged_and_heals(sqlite_store):
    store = sqlite_store
    run = store.create_run("0").run_id
    database = store.database
    pages = database.write(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar())
    database.write(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count = {pages + 20}").scalar())
    acknowledged = 0

    def fill():
        nonlocal acknowledged
        while acknowledged < 10_000:
            store.log_batch(run, metrics=[Metric("m", 1.0, acknowledged, i) for i in range(500)])
            acknowledged += 1

    with pytest.raises(StoreUnavailableError, match="full"):
        fill()
    assert len(store.get_metric_history(run, "m").items) == 500 * acknowledged
    database.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count = 1000000").scalar())
    store.log_batch(run, metrics=[Metric("m", 2.0, 1, 1)])
    store.close()


def test_a_connection_that_comes_back_after_the_close_is_closed(postgres_url):
    database = Database(postgres_url)
    with database.bare() as connection:
        before = connection.driver_connection
        database.close()
    with database.bare() as connection:
        after = connection.driver_connection
    assert (before.closed, after.closed) == (True, True)


def test_a_lost_connection_is_named_and_the_next_write_works(postgres_url):
    store = open_store(postgres_url)
    store.create_run("0", run_id="r1")
    killer = create_engine(postgres_url, isolation_level="AUTOCOMMIT")

    def cut(connection):
        connection.execute(text("UPDATE runs SET name = 'half' WHERE run_id = 'r1'"))
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar()
        with killer.connect() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        connection.execute(text("UPDATE runs SET name = 'more' WHERE run_id = 'r1'"))

    with pytest.raises(StoreUnavailableError, match="cannot be used now"):
        store.database.write(cut)
    store.log_batch("r1", params={"a": "1"})
    run = store.get_run("r1")
    assert (run.params, run.name) != ({}, "half")
    assert run.name not in ("half", "more")
    killer.dispose()
    store.close()


@pytest.mark.parametrize("serializable", [False, True])
def test_transactions_that_get_in_each_others_way_run_again(postgres_url, serializable):
    store = open_store(postgres_url)
    for name in ("0", "a", "b"):
        store.create_run("0", run_id=f"r{name}", start_time=0)
    together = threading.Barrier(2)
    tries = []

    def swap(first, second):
        def work(connection):
            tries.append(first)
            connection.execute(text("UPDATE runs SET start_time = start_time + 1 WHERE run_id = :r"), {"r": first})
            if tries.count(first) == 1:
                together.wait(30)
            connection.execute(text("UPDATE runs SET start_time = start_time + 1 WHERE run_id = :r"), {"r": second})

        store.database.write(work, serializable=serializable)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(swap, "ra", "rb"), pool.submit(swap, "rb", "ra")]:
            done.result(60)
    assert [store.get_run(run).start_time for run in ("ra", "rb")] == [2, 2]
    assert len(tries) > 2
    store.close()
