"""One server and one worker for all rows of the status table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.append(str(Path(__file__).parent))
from world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator import Orchestrator


@pytest.fixture(scope="session")
def world(orchestrator: Orchestrator) -> Iterator[World]:
    made = World(orchestrator)
    orchestrator.start_worker("status", made.environment)
    made.deploy("status")
    yield made
    made.close()
