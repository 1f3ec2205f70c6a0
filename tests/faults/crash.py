"""Killing one's own process at an exact moment, as the kernel would: SIGKILL, nothing is cleaned up."""

from __future__ import annotations

import mmap
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def install(moment: str, count: int) -> None:
    """Kill this process at the `count`th time, from 1, that a moment of `MOMENTS` comes."""
    left = [count]

    def tick(*_: object, **__: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    MOMENTS[moment](tick)


def _before_statement(tick: Callable[..., None]) -> None:
    from sqlalchemy import Engine, event

    event.listen(Engine, "before_cursor_execute", tick)
    for module in _straight_to_the_driver():
        _around(module, "execute", before=tick)


def _after_statement(tick: Callable[..., None]) -> None:
    from sqlalchemy import Engine, event

    event.listen(Engine, "after_cursor_execute", tick)
    for module in _straight_to_the_driver():
        _around(module, "execute", after=tick)


def _straight_to_the_driver() -> list[Any]:
    """The modules with statements of which SQLAlchemy does not know."""
    from prefect_ml.store import bulk, runs

    return [bulk, runs]


def _before_commit(tick: Callable[..., None]) -> None:
    from sqlalchemy import Engine, event

    event.listen(Engine, "commit", tick)


def _after_commit(tick: Callable[..., None]) -> None:
    from prefect_ml.store.database import Database

    _around(Database, "write", after=tick)


def _file_made(tick: Callable[..., None]) -> None:
    _around(os, "posix_fallocate", before=tick)


def _file_reserved(tick: Callable[..., None]) -> None:
    _around(os, "posix_fallocate", after=tick)


def _file_mapped(tick: Callable[..., None]) -> None:
    _around(mmap, "mmap", after=tick)


def _file_written(tick: Callable[..., None]) -> None:
    _around(Path, "rename", before=tick)


def _file_named(tick: Callable[..., None]) -> None:
    _around(Path, "rename", after=tick)


def _file_removed(tick: Callable[..., None]) -> None:
    _around(Path, "unlink", before=tick)


MOMENTS: dict[str, Callable[[Callable[..., None]], None]] = {
    "before a statement": _before_statement,
    "after a statement": _after_statement,
    "before a commit": _before_commit,
    "after a commit": _after_commit,
    "journal made": _file_made,
    "journal reserved": _file_reserved,
    "journal mapped": _file_mapped,
    "journal written": _file_written,
    "journal named": _file_named,
    "before a removal": _file_removed,
}


def _around(
    owner: Any, name: str, before: Callable[..., None] | None = None, after: Callable[..., None] | None = None
) -> None:
    original = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if before is not None:
            before()
        result = original(*args, **kwargs)
        if after is not None:
            after()
        return result

    setattr(owner, name, wrapped)
