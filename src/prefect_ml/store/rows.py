"""What the nouns of the store share: each is a class of its own file, and `SqlStore` is all of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect_ml.store.database import Database


class Rows:
    """Base of every noun.

    Attributes:
        database: `with self.database.read() as connection` reads, `self.database.write(work)` writes.
        artifact_root: URI or absolute folder below which experiments keep their artifacts.
    """

    def __init__(self, database: Database, artifact_root: str) -> None:
        self.database = database
        self.artifact_root = artifact_root.rstrip("/")


def now() -> int:
    """The time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
