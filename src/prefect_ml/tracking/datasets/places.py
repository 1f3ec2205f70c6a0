"""Where a data set came from, in MLflow's words and without anybody's credentials.

Of a URL, user name, password, query and fragment are left out; in Azure's `abfss://container@account…` the name before
the `@` is a container and stays.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from prefect_ml.errors import InvalidInputError
from prefect_ml.tracking.capture.redact import redacted_text
from prefect_ml.tracking.capture.source import SOURCE_NAME, SOURCE_TYPE, process_tags
from prefect_ml.tracking.datasets.facts import as_json

if TYPE_CHECKING:
    from collections.abc import Mapping

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.:\-]*)://")
_CONTAINERS: Final = ("abfs", "abfss", "wasb", "wasbs")
_LONGEST_TYPE: Final = 36
_LONGEST: Final = 4000


class Place(NamedTuple):
    """A source: MLflow's type and JSON of it, and what a data set there may be called."""

    source_type: str
    source: str
    name: str


def is_place(data: object) -> bool:
    return isinstance(data, str | os.PathLike)


def local_path(place: str | os.PathLike[str]) -> Path | None:
    """The path on this machine; None for a URL elsewhere."""
    text = _text(place)
    if (url := _URL.match(text)) is None:
        return Path(text)
    return Path(unquote(urlsplit(text).path)) if url.group(1).lower() == "file" else None


def place_of(place: str | os.PathLike[str]) -> Place:
    """The source that a path or URL is."""
    path = local_path(place)
    if path is not None:
        shown = str(path.absolute()) if path.exists() else redacted_text(str(path))
        return Place("local", as_json({"uri": shown[:_LONGEST]}), _stem(path.name))
    url = clean_url(_text(place))
    scheme, _, rest = url.partition("://")
    if scheme in ("http", "https"):
        return Place("http", as_json({"url": url}), _stem(rest))
    return Place(scheme[:_LONGEST_TYPE], as_json({"uri": url}), _stem(rest))


def clean_url(url: str) -> str:
    """A URL without credentials, query and fragment; of one that is none by the rules, what stands before them."""
    given, _, rest = url.partition("://")
    scheme = given.lower()
    if ":" in scheme:
        # Drivers of databases keep passwords behind semicolons.
        rest = rest.partition(";")[0]
    try:
        parts = urlsplit(f"{scheme.replace(':', '+')}://{rest}")
    except ValueError:
        return f"{scheme}://"
    user, _, host = parts.netloc.rpartition("@")
    container = user and ":" not in user and scheme in _CONTAINERS
    place = parts.netloc if container else host
    return urlunsplit((scheme, place, parts.path, "", ""))[:_LONGEST]


def code_place() -> Place:
    """The source of data that this program made: the program."""
    tags: Mapping[str, str] = process_tags()
    return Place("code", as_json({"tags": {key: tags[key] for key in (SOURCE_NAME, SOURCE_TYPE)}}), "")


def _text(place: str | os.PathLike[str]) -> str:
    found = os.fspath(place)
    if not isinstance(found, str):
        raise InvalidInputError(f"A path or URL is text, not {type(found).__name__}; decode it.")
    return found


def _stem(text: str) -> str:
    last = text.rstrip("/").rpartition("/")[2].replace("\x00", "")
    return (last.partition(".")[0] or last).encode(errors="replace").decode()
