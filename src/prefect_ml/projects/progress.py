"""Saying what takes long before a project's command starts; what is in the cache says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    # Gets a line for a person.
    Tell = Callable[[str], None]


def silent(_: str) -> None:
    """Say nothing."""
