"""Saying something must not end what says it."""

from __future__ import annotations

import contextlib


def outlasting_console() -> contextlib.AbstractContextManager[None]:
    """For a body that logs: go on when a console's reader is gone.

    Rich's consoles, Prefect's among them, then raise SystemExit wherever something is printed
    (`rich.console.Console.on_broken_pipe`): a worker that reads its flow's output may die before the flow.
    """
    return contextlib.suppress(SystemExit)
