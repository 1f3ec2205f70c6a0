"""Naming a store without its secrets, so that a journal reaches the store that it was recorded for."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit


def place_of(url: str) -> str:
    """Kind, host, port and database of a SQLAlchemy URL; no driver, user, password or options.

    The path of a SQLite file is made absolute.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    kind = parts.scheme.partition("+")[0]
    if kind == "sqlite":
        return f"sqlite:///{Path(parts.path.removeprefix('/')).absolute()}"
    return f"{kind}://{host}{f':{port}' if port else ''}{parts.path}"
