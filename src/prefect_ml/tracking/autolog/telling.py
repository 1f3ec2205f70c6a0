"""Where autolog says what it recorded: where whoever trains reads, which may be the log of a flow run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from prefect_ml.tracking.console import outlasting_console

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("prefect_ml.autolog")

_loggers: list[Callable[[], logging.Logger | logging.LoggerAdapter[logging.Logger] | None]] = []


def register_logger(find: Callable[[], logging.Logger | logging.LoggerAdapter[logging.Logger] | None]) -> None:
    """Ask a function for the log that is read here; it answers None where it knows none."""
    _loggers.append(find)


def tell(level: int, message: str, *values: object) -> None:
    """Say something, once: in the first log that is known here, else in that of this package.

    Args:
        level: of `logging`.
        message: with a `%s` for each of the values.
        values: what stands there.
    """
    found = next((log for find in _loggers if (log := find()) is not None), logger)
    with outlasting_console():
        found.log(level, message, *values)
