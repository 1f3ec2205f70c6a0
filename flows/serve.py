"""The flow that is a serving process as long as it runs, on a work pool of processes.

Prefect starts it, shows its log and its state, and stops it; an automation starts it again when it ended by itself.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import getpid
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from pydantic import Field

from prefect_ml.errors import PrefectMLError
from prefect_ml.flowruns.harmless import harmless
from prefect_ml.registry.description import escape
from prefect_ml.settings import Settings

# Beyond its drain, a server needs up to 5 s for a version that is being loaded. With the default drain this stays below
# the 30 s after which Prefect kills a cancelled run.
_AFTER_DRAIN_SECONDS = 8.0
_LONGEST_LINE = 4000
_LOOK_SECONDS = 0.2


class ServingError(PrefectMLError):
    """The serving process ended, or did not come to serve."""


@flow(name="serve-model", flow_run_name="serve {model_uris} at {host}:{port}")
def serve_model(
    model_uris: Annotated[list[str], Field(min_length=1)],
    host: str = "127.0.0.1",
    port: Annotated[int, Field(ge=0, le=65535)] = 5001,
    workers: Annotated[int, Field(ge=1)] = 1,
    timeout: Annotated[float, Field(gt=0)] = 600.0,
) -> None:
    """Serve models until the run is cancelled; what the server says goes to the log of the run.

    Cancelling drains: the server takes no new connections and answers what it has in hand for
    `PREFECT_ML_SERVE_DRAIN` seconds, and the run is Cancelled. A server that ends by itself fails the run, and one that
    somebody stopped in order completes it. However this process ends, the server ends with it.

    The token and the URL of the store come from the environment: set them in the work pool's or the deployment's
    `job_variables.env`.

    Args:
        model_uris: what is served, as `prefect-ml serve` takes it; the first answers `/invocations`.
        host: address to listen on; beyond this machine only with `PREFECT_ML_SERVE_TOKEN`.
        port: TCP port; 0 takes a free one, which the log names.
        workers: processes that serve; each that dies is replaced.
        timeout: seconds until it must serve.

    Raises:
        ServingError: the server ended with an error, or did not serve in time.
    """
    log = get_run_logger()
    drain = Settings().serve_drain
    options = ("--host", host, "--port", str(port), "--workers", str(workers))
    tied = ("--parent", str(getpid()))
    with _child((_command(), "serve", *options, *tied, "--", *model_uris), drain) as child:
        serving = _Lines(child, log)
        _wait_until_it_serves(child, serving, timeout)
        _publish(model_uris, serving.announced)
        if (code := child.wait()) != 0:
            serving.finish()
            raise ServingError(f"The serving process {_how(code)}; its last words: {serving.last}")
    log.info("The serving process was stopped in order.")


def _command() -> str:
    found = shutil.which("prefect-ml", path=str(Path(sys.executable).parent))
    if found is None:
        raise ServingError(f"There is no command `prefect-ml` beside {sys.executable}; install prefect-ml there.")
    return found


@contextmanager
def _child(command: Sequence[str], drain: float) -> Iterator[subprocess.Popen[str]]:
    """The server, which never outlives this block; a signal to this process's group is not one to it."""
    child = subprocess.Popen(  # noqa: S603 - our own command, no shell; what people name stands after `--`
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(drain + _AFTER_DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


class _Lines:
    """Hands each line that the server writes to the log of the run.

    Attributes:
        announced: the line that says what is served and where; "" until it serves.
        last: the newest line.
    """

    def __init__(self, child: subprocess.Popen[str], log: Any) -> None:
        self.announced = ""
        self.last = ""
        self._log = log
        self._thread = threading.Thread(target=self._read, args=(child.stdout,), name="prefect-ml-lines", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait until all is handed over that was written."""
        self._thread.join(timeout=5)

    def _read(self, lines: Any) -> None:
        with lines:
            for line in lines:
                self.last = line.rstrip()[:_LONGEST_LINE]
                self._log.info("%s", self.last)
                if not self.announced and self.last.startswith("Serving "):
                    self.announced = self.last


def _wait_until_it_serves(child: subprocess.Popen[str], serving: _Lines, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not serving.announced:
        if (code := child.poll()) is not None:
            serving.finish()
            raise ServingError(f"The serving process {_how(code)} before it served: {serving.last}")
        if time.monotonic() >= deadline:
            raise ServingError(f"The serving process does not serve after {timeout:g} s; see its lines in the log.")
        time.sleep(_LOOK_SECONDS)


def _how(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _publish(model_uris: Sequence[str], announced: str) -> None:
    rows = "\n".join(f"- {escape(uri)}" for uri in model_uris)
    with harmless("What is served is not shown on the page of the flow run"):
        create_markdown_artifact(f"## Served\n\n{rows}", key="served-model", description=escape(announced))
