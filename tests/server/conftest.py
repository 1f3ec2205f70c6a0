"""Real servers, and clients that log to them over plain HTTP."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]
from served import TrackingServer

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A server as it starts by default, with a log of all requests."""
    with TrackingServer(tmp_path_factory.mktemp("server"), {"PREFECT_ML_SERVER_LOG": "json"}) as started:
        yield started


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.url, timeout=30) as made:
        yield made


@pytest.fixture
def start(tmp_path):
    """Starts a server with these variables and arguments, stopped at the end of the test."""
    count = iter(range(100))
    with contextlib.ExitStack() as running:

        def begin(*arguments: str, store: str | None = None, **environment: str) -> TrackingServer:
            variables = {f"PREFECT_ML_{name.upper()}": value for name, value in environment.items()}
            folder = tmp_path / f"server{next(count)}"
            return running.enter_context(TrackingServer(folder, variables, *arguments, store=store))

        yield begin


@pytest.fixture
def until() -> Callable[..., None]:
    """Waits until something is so, within bounds."""

    def wait(done: Callable[[], object], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, "it did not come to that in time"
            time.sleep(0.02)

    return wait
