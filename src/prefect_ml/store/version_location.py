"""Where the files of a model version are whose source is another version or a logged model."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from prefect_ml.store.logged_model_load import find_logged_model
from prefect_ml.store.registry_rows import find_version

if TYPE_CHECKING:
    from sqlalchemy import Connection

_VERSION = re.compile(r"models:/([^/:@]+)/([0-9]{1,18})")
_LOGGED_MODEL = re.compile(r"models:/(m-[^/:@]+)")


class Origin(NamedTuple):
    """What a source stands for; empty where it stands for itself."""

    location: str = ""
    model_id: str = ""
    run_id: str | None = None
    digest: str = ""


def origin_of(connection: Connection, source: str) -> Origin:
    """Follow a source to files, logged model and the run that logged it.

    Raises:
        NotFoundError: it names a version or logged model that does not exist.
    """
    if match := _VERSION.fullmatch(source):
        copied = find_version(connection, match.group(1), int(match.group(2)))
        return Origin(copied.location or copied.source, copied.model_id, digest=copied.artifact_digest)
    if match := _LOGGED_MODEL.fullmatch(source):
        logged = find_logged_model(connection, match.group(1))
        return Origin(logged.artifact_uri, logged.model_id, logged.source_run_id or None)
    return Origin()
