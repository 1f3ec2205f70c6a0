"""The world of the promotions' journeys; and which tests need a browser."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from prefect_ml.store import open_store

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def found_browser() -> str | None:
    """A Chromium: the one that CHROME names, or one on the path."""
    return os.environ.get("CHROME") or next(filter(None, map(shutil.which, BROWSERS)), None)


# Where nothing may be missing, its absence is a failure.
if os.environ.get("PREFECT_ML_REQUIRE_ALL") != "1" and not (found_browser() and find_spec("playwright")):
    collect_ignore = ["test_resume_form_in_browser.py"]


@pytest.fixture
def store():
    """The store of the test's own home."""
    with contextlib.closing(open_store()) as found:
        yield found


@pytest.fixture
def port():
    """A TCP port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="session")
def browser_path():
    return found_browser() or pytest.fail("There is no Chromium: install one, or name it in CHROME.")


@pytest.fixture(scope="session")
def world(orchestrator):
    """A tracking server and the shipped deployments, on a Prefect server with a worker."""
    from journey import Journeys

    from holding import HoldingProxy
    from served import COMMAND, TrackingServer

    with TrackingServer(orchestrator.folder / "tracking") as server, HoldingProxy(server.url) as proxy:
        found = Journeys(orchestrator, server, proxy)
        orchestrator.start_worker("ml", found.environment)
        command = [COMMAND, "deploy-flows", "--models", "journey-*"]
        subprocess.run(command, env=orchestrator.environment, check=True, capture_output=True)
        yield found
        found.close()
