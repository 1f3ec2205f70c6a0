"""`prefect-ml quickstart`: the whole path once, on real data."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from rich.panel import Panel
from rich.text import Text

from prefect_ml.cli.output import console, print_fields, print_table, when
from prefect_ml.errors import PrefectMLError, PromotionError
from prefect_ml.store import open_store

if TYPE_CHECKING:
    from prefect_ml.entities import ModelVersion, PromotionRequest
    from prefect_ml.flows.approval import Answer
    from prefect_ml.store.contract import Store

# Seconds within which the served model must answer.
PATIENCE = 60.0


def quickstart(*, yes: bool = False, keep_serving: bool = False) -> None:
    """Train, record, register, promote and serve a model on real data, in about a minute.

    Args:
        yes: Approve the promotion without asking; recorded as such.
        keep_serving: Leave the model served until Ctrl-C.
    """
    _quiet_prefect()
    store = open_store()
    _step(1, "Train four candidates in a tracked Prefect flow")
    best = _train(store)
    _step(2, "Register the best of them")
    version = _register(best)
    _step(3, "Promote it: gates, then a person")
    _promote(store, version, yes=yes)
    _step(4, "Serve the champion over HTTP and ask it")
    with _served(f"models:/{version.name}@champion") as client:
        _ask(client)
        _summary(store, version, best)
        if keep_serving:
            console.print(f"Serving at {client.base_url} until Ctrl-C.", highlight=False)
            _wait_for_interrupt()


def _quiet_prefect() -> None:
    """Keep Prefect's log of each task out of the way of this page; its server has it all the same."""
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    # a first start of Prefect's embedded server migrates its database, which takes longer than it waits by default
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")


def _train(store: Store) -> str:
    from prefect_ml.flows.quickstart import EXPERIMENT, train_candidates  # noqa: PLC0415 (loads Prefect)

    with console.status("Prefect starts, then trains; each candidate is a child run with curves, plot and model…"):
        best = train_candidates()
    parent = store.get_run(best).tags["mlflow.parentRunId"]
    experiment = store.get_experiment_by_name(EXPERIMENT).experiment_id
    runs = store.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'", ["metrics.auc DESC"]).items
    print_table(
        "Candidates",
        ("run", "name", "alpha", "AUC", "accuracy", "points", "code version"),
        (
            (
                run.run_id[:8],
                run.name,
                run.params["alpha"],
                run.metrics["auc"],
                run.metrics["accuracy"],
                len(store.get_metric_history(run.run_id, "train_loss").items),
                run.tags.get("mlflow.source.git.commit", "-")[:8],
            )
            for run in runs
        ),
    )
    return best


def _register(run_id: str) -> ModelVersion:
    import prefect_ml as ml  # noqa: PLC0415
    from prefect_ml.flows.quickstart import MODEL  # noqa: PLC0415 (loads Prefect)

    version = ml.register_model(f"runs:/{run_id}/model", MODEL)
    console.print(f"{version.name} version {version.version}, {version.artifact_digest[:23]}…", highlight=False)
    return version


def _promote(store: Store, version: ModelVersion, *, yes: bool) -> None:
    from prefect_ml.flows.approval import approvals_from  # noqa: PLC0415 (loads Prefect)
    from prefect_ml.flows.promote import promote_model  # noqa: PLC0415

    store.save_policy(_policy(version.name), actor=getuser(), reason="quickstart")

    def decide(request: PromotionRequest) -> Answer:
        return _answer(request, yes=yes)

    with approvals_from(decide):
        moved: Any = promote_model(version.name, version.version, requester=getuser())
    if moved is None:
        raise PromotionError(
            f"You rejected {version.name} version {version.version}, so there is nothing to serve; "
            "run the quickstart again to decide otherwise."
        )
    console.print(
        f"{moved['name']}@{moved['alias']} is version {moved['version']} now (generation {moved['generation']})."
    )


def _policy(name: str) -> Any:
    from prefect_ml.registry.metric_gates import MetricThreshold  # noqa: PLC0415 (only here)
    from prefect_ml.registry.model_gates import Loads, SignaturePresent  # noqa: PLC0415
    from prefect_ml.registry.policy import PromotionPolicy  # noqa: PLC0415

    return PromotionPolicy(
        name="quickstart",
        model_pattern=name,
        aliases=("champion",),
        gates=(
            MetricThreshold(name="auc at least 0.95", metric="auc", minimum=0.95),
            Loads(name="loads and replays its example"),
            SignaturePresent(name="has a signature"),
        ),
    ).to_entity()


def _answer(request: PromotionRequest, *, yes: bool) -> Answer:
    from prefect_ml.flows.approval import Answer  # noqa: PLC0415 (loads Prefect)

    print_table(
        f"Gates of request {request.request_id}",
        ("gate", "verdict", "evidence"),
        ((r.gate, Text("passed", "green") if r.passed else Text("failed", "red"), r.summary) for r in request.evidence),
    )
    question = f"Move {request.alias} of {request.name} to version {request.version}?"
    if yes:
        console.print(f"{question} approved by --yes", highlight=False)
        return Answer(
            approve=True, actor=getuser(), reason="approved by --yes, nobody was asked", channel="quickstart --yes"
        )
    if not sys.stdin.isatty():
        raise PromotionError("Nobody can be asked here, since the input is no terminal: add --yes to approve.")
    if console.input(Text.assemble((question, "bold"), " [y/n] ")).strip().lower() in ("y", "yes"):
        return Answer(approve=True, actor=getuser(), reason="approved at the terminal", channel="terminal")
    reason = console.input("Why not? ").strip() or "rejected at the terminal"
    return Answer(approve=False, actor=getuser(), reason=reason, channel="terminal")


@contextmanager
def _served(uri: str) -> Iterator[httpx.Client]:
    command = [str(Path(sys.executable).parent / "prefect-ml"), "serve", uri, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 (our own command)
        try:
            line = process.stdout.readline().strip() if process.stdout else ""
            if not line.startswith("Serving "):
                raise PrefectMLError(f"The serving process ended with code {process.wait()}; run: {' '.join(command)}")
            console.print(line, highlight=False, soft_wrap=True)
            with httpx.Client(base_url=line.rsplit(" ", 1)[-1], timeout=PATIENCE) as client:
                yield client
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _ask(client: httpx.Client) -> None:
    from prefect_ml.flows.quickstart import unseen_rows  # noqa: PLC0415 (loads Prefect)

    body, truth = unseen_rows(3)
    began = time.perf_counter()
    answer = client.post("/invocations", json=body)
    took = (time.perf_counter() - began) * 1000
    answer.raise_for_status()
    names = {0: "malignant", 1: "benign"}
    served = answer.headers["x-model-version"]
    print_table(
        f"POST /invocations, 3 tumours: {answer.status_code} in {took:.0f} ms by version {served}",
        ("predicted", "in truth"),
        zip((names[p] for p in answer.json()["predictions"]), (names[t] for t in truth), strict=True),
    )


def _summary(store: Store, version: ModelVersion, best: str) -> None:
    alias = store.get_alias(version.name, "champion")
    request = store.get_request(alias.request_id) if alias.request_id else None
    print_fields(
        "What is there now",
        {
            "champion": f"{alias.name} version {alias.version}, moved {when(alias.moved_at)}",
            "decided by": "-" if request is None else f"{request.decisions[-1].actor}: {request.decisions[-1].reason}",
            "audit log": f"{store.verify_audit()} entries, the chain is whole",
            "store": store.url,
        },
    )
    lines = (
        "prefect-ml runs list --experiment quickstart",
        f"prefect-ml runs show {best}",
        f"prefect-ml models show {version.name}",
        f"prefect-ml serve models:/{version.name}@champion",
        f'prefect-ml rollback {version.name} --reason "…"        (after a second promotion)',
        "prefect server start                               (the same flows in Prefect's UI)",
    )
    console.print(Panel(Text("\n".join(lines)), title="What to look at next", title_align="left", expand=False))


def _step(number: int, what: str) -> None:
    console.rule(f"[bold]{number}. {what}", align="left")


def _wait_for_interrupt() -> None:
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        console.print("Stopped.")
