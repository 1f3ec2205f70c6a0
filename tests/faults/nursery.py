"""Forks training processes off one that has imported everything, so that hundreds of them are cheap.

Reads lines of JSON and answers each with a number: `["fork", spec]` with a process id, `["wait", pid]` with how that
process ended, as `os.waitstatus_to_exitcode` gives it. A process id is not given away before it was waited for.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import orjson

sys.path.append(str(Path(__file__).parent))

# ruff: noqa: F401 - they are here to be loaded before the fork
import alembic.command
import psycopg
import pydantic
import sqlalchemy.dialects.postgresql
import sqlalchemy.dialects.sqlite
import training

import prefect_ml.api
import prefect_ml.models.environment
import prefect_ml.store.open
import prefect_ml.store.upgrade
from prefect_ml.settings import Settings


def main() -> None:
    Settings()  # what reads them is made once
    while line := sys.stdin.readline():
        what, given = orjson.loads(line)
        if what == "fork":
            pid = os.fork()
            if pid == 0:
                _become(given)
                training.main(given)
                return
            answer = pid
        else:
            answer = os.waitstatus_to_exitcode(os.waitpid(given, 0)[1])
        os.write(1, b"%d\n" % answer)


def _become(spec: dict[str, str]) -> None:
    """Let go of the parent's pipes."""
    nothing = os.open(os.devnull, os.O_RDWR)
    errors = os.open(spec["errors"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for old, new in ((nothing, 0), (nothing, 1), (errors, 2)):
        os.dup2(old, new)


if __name__ == "__main__":
    main()
