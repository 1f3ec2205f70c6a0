"""The flow that brings a serving process to what a model URI says now, and proves that it answers with it.

A serving process follows its alias by itself; this flow waits until it has, or starts the process and keeps it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from prefect_ml.blocks.target import ServingTarget
from prefect_ml.errors import PrefectMLError
from prefect_ml.models.example import SERVING_FILE
from prefect_ml.registry.description import escape
from prefect_ml.registry.resolve import ResolvedModel, fetch, resolve
from prefect_ml.settings import Settings
from prefect_ml.store import open_store

_POLL_SECONDS = 0.5
# Beyond its drain, a server needs up to 5 s for a version that is being loaded. With the default drain this stays below
# the 30 s after which Prefect kills a cancelled run, and the kill of this process would leave the server alone.
_AFTER_DRAIN_SECONDS = 8.0


class DeploymentError(PrefectMLError):
    """The serving process does not serve what it should."""


@flow(name="await-served", flow_run_name="await {model_uri} at {host}:{port}")
def await_served(
    model_uri: str,
    host: str = "127.0.0.1",
    port: int = 5001,
    timeout: float = 120.0,
    start: bool = False,
) -> dict[str, Any]:
    """Wait until a serving process answers with the model that a URI names now.

    With `start`, the run is the serving process: it starts one as a child, checks it, sends it the model's input
    example, and keeps it until the run is cancelled (the child is stopped) or the child ends (the run fails, unless it
    was stopped in order).

    Args:
        model_uri: `models:/churn@champion`, `models:/churn/3`, `runs:/RUN_ID/model` or a model folder.
        host: Name or address of the serving process.
        port: Its port.
        timeout: Seconds until the process must serve the model.
        start: Whether to start the process here.

    Returns:
        What the process serves: `url`, `model_uri`, `model`, `version`, `generation`, and `example_status`, the HTTP
        status that the input example was answered with (None when none was sent).

    Raises:
        DeploymentError: the process serves something else, or could not be reached or started in time.
        NotFoundError: the URI names nothing.
    """
    target = ServingTarget(host=host, port=port, model_uri=model_uri)
    resolved = resolve(open_store(), model_uri)
    if not start:
        return _published(_until_served(target, resolved, timeout))
    with _child(target) as child:
        served = _until_served(target, resolved, timeout, child)
        served["example_status"] = _send_example(target, resolved)
        _published(served)
        get_run_logger().info("%s serves %s, version %s.", target.url, model_uri, served["version"])
        if (code := child.wait()) != 0:
            raise DeploymentError(f"The serving process ended with exit code {code}; see its output.")
    return served


def _until_served(
    target: ServingTarget, wanted: ResolvedModel, timeout: float, child: subprocess.Popen[bytes] | None = None
) -> dict[str, Any]:
    """Poll the process's health until it serves what is wanted, or an alias's later version."""
    deadline = time.monotonic() + timeout
    while True:
        if child is not None and child.poll() is not None:
            raise DeploymentError(
                f"The serving process ended with exit code {child.returncode} before it served {wanted.uri!r}; "
                f"is port {target.port} free?"
            )
        health, seen = _health(target)
        if health and not _same_uri(health, target, wanted):
            raise DeploymentError(
                f"The process at {target.url} serves {health['model_uri']!r} and will not turn to "
                f"{target.model_uri!r}; start one that serves it, or name that process's port."
            )
        if health and _serves(health, wanted):
            about = {key: health.get(key) for key in ("model", "version", "generation")}
            return {"url": target.url, "model_uri": target.model_uri, **about, "example_status": None}
        if time.monotonic() >= deadline:
            raise DeploymentError(
                f"After {timeout:g} s, {target.url} does not serve version {wanted.version} (generation "
                f"{wanted.generation}) of {target.model_uri!r}; it last answered: {seen}"
            )
        time.sleep(_POLL_SECONDS)


def _health(target: ServingTarget) -> tuple[dict[str, Any], str]:
    """The process's health ({} when it gave none), and what was seen, in words."""
    try:
        answer = httpx.get(f"{target.url}/health", timeout=10)
    except httpx.HTTPError as error:
        return {}, f"{type(error).__name__}: {error}"
    seen = f"{answer.status_code} {answer.text[:500]}"
    try:
        body = answer.json()
    except ValueError:
        return {}, seen
    return (body if isinstance(body, dict) and "model_uri" in body else {}), seen


def _same_uri(health: dict[str, Any], target: ServingTarget, wanted: ResolvedModel) -> bool:
    return health["model_uri"] in (target.model_uri, wanted.uri)


def _serves(health: dict[str, Any], wanted: ResolvedModel) -> bool:
    generation = health.get("generation") or 0
    if health.get("status") != "ok" or generation < wanted.generation:
        return False
    return generation > wanted.generation or health.get("version") == wanted.version


def _send_example(target: ServingTarget, resolved: ResolvedModel) -> int | None:
    """Send the request that is kept with the model; whatever is answered but 200 is an error."""
    request = fetch(resolved, Settings().cache_folder) / SERVING_FILE
    if not request.is_file():
        return None
    token = Settings().serve_token
    headers = {"content-type": "application/json"}
    if token is not None:
        headers["authorization"] = f"Bearer {token.get_secret_value()}"
    answer = httpx.post(f"{target.url}/invocations", content=request.read_bytes(), headers=headers, timeout=60)
    if answer.status_code != httpx.codes.OK:
        raise DeploymentError(
            f"The process at {target.url} answers the model's own input example with {answer.status_code}: "
            f"{answer.text[:500]}"
        )
    return answer.status_code


@contextmanager
def _child(target: ServingTarget) -> Iterator[subprocess.Popen[bytes]]:
    """`prefect-ml serve` as a child, which never outlives this block."""
    command = shutil.which("prefect-ml", path=str(Path(sys.executable).parent))
    if command is None:
        raise DeploymentError(f"There is no command `prefect-ml` beside {sys.executable}; install prefect-ml there.")
    child = subprocess.Popen(  # noqa: S603 - our own command, no shell; a URI is never read as an option after `--`
        [
            *(command, "serve", "--host", target.host, "--port", str(target.port)),
            *("--parent", str(os.getpid()), "--", target.model_uri),
        ]
    )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(Settings().serve_drain + _AFTER_DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _published(served: dict[str, Any]) -> dict[str, Any]:
    rows = "\n".join(f"| {key} | {escape('' if value is None else value)} |" for key, value in served.items())
    create_markdown_artifact(
        f"## Deployed {escape(served['model_uri'])}\n\n| | |\n|---|---|\n{rows}",
        key="deployed-model",
        description=f"{served['url']} serves version {served['version']}",
    )
    return served
