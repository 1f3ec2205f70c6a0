"""From what a user calls a data set to a record in the journal."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prefect_ml.entities import Dataset, DatasetInput
from prefect_ml.errors import InvalidInputError
from prefect_ml.store.input_names import MAX_LENGTHS, check_input
from prefect_ml.tracking import records, values
from prefect_ml.tracking.datasets import files, parts, places
from prefect_ml.tracking.datasets.facts import Facts
from prefect_ml.tracking.datasets.sampling import Fingerprint

if TYPE_CHECKING:
    from prefect_ml.tracking.outlet import Outlet

logger = logging.getLogger(__name__)

# MLflow's tag for what a data set was used for.
CONTEXT_TAG = "mlflow.data.context"
# Each library's file here; it is imported only for data of that library, which is loaded then.
_LIBRARIES = {"pandas": "pandas", "polars": "polars", "pyarrow": "arrow", "numpy": "numpy", "xgboost": "xgboost"}
_MOST_PARTS = 1000
_SHOWN = 3


def log_input(  # noqa: PLR0917  the parameters of `ActiveRun.log_input`
    outlet: Outlet,
    data: Any,
    name: str | None,
    context: str | None,
    source: str | os.PathLike[str] | None,
    tags: Mapping[str, Any] | None,
) -> Dataset:
    """Record that the run uses a data set; see `ActiveRun.log_input`."""
    if source is not None and not places.is_place(source):
        raise InvalidInputError(f"The source of a data set is a path or URL, not {type(source).__name__}.")
    given = values.mapping({} if tags is None else tags, "Tags")
    texts = {str(key): values.tag_value(str(key), value) for key, value in given.items()}
    if context is not None:
        texts[CONTEXT_TAG] = str(context)
    checked = check_input(DatasetInput(_dataset(data, _name(name), source), texts))
    number = outlet.source
    outlet.record(records.input_record(checked, number))
    return checked.dataset


def is_data(value: object) -> bool:
    """Whether a value is of a library whose data are known here."""
    return _library(value) is not None


def _name(name: str | None) -> str:
    if name is not None and not isinstance(name, str):
        raise InvalidInputError(f"The name of a data set is text, not {type(name).__name__}.")
    return name or ""


def _dataset(data: Any, name: str, source: str | os.PathLike[str] | None) -> Dataset:
    place = places.place_of(source) if source is not None else None
    if isinstance(data, Dataset):
        moved = {} if place is None else {"source_type": place.source_type, "source": place.source}
        return replace(data, name=name or data.name, **moved)
    if place is None:
        place = places.place_of(data) if places.is_place(data) else places.code_place()
    facts = _read(data, place)
    return facts.dataset((name or place.name or facts.kind)[: MAX_LENGTHS["name"]], place.source_type, place.source)


def _read(data: Any, place: places.Place) -> Facts:
    """The facts of data; those that cannot be read are said once, and do not matter to the program."""
    try:
        facts = _describe(data)
    except Exception as error:  # noqa: BLE001  somebody's data may raise anything
        fingerprint = Fingerprint("unread")
        fingerprint.add(f"{type(data).__module__}.{type(data).__qualname__}", place)
        logger.warning("The data set is recorded without its content, which cannot be read: %s", error)
        return Facts("dataset", fingerprint.digest)
    if facts.unread:
        shown = ", ".join(facts.unread[:_SHOWN]) + ", …" * (len(facts.unread) > _SHOWN)
        logger.warning("Of the data set, this could not be read and does not count in its digest: %s", shown)
    return facts


def _describe(data: Any) -> Facts:
    if places.is_place(data):
        return _at_place(data)
    if (library := _library(data)) is not None:
        found: Facts = importlib.import_module(f"prefect_ml.tracking.datasets.{library}").describe(data)
        return found
    if isinstance(data, Mapping | list | tuple) and 0 < len(data) <= _MOST_PARTS:
        named = isinstance(data, Mapping)
        items = data.items() if isinstance(data, Mapping) else enumerate(data)
        return parts.join({str(key): _part(part) for key, part in items}, named=named)
    raise InvalidInputError(
        f"{type(data).__name__} is no data set that is known here; give a frame of pandas or polars, an array of "
        "numpy, a table of Arrow, a DMatrix of XGBoost, a path or a URL."
    )


def _part(data: Any) -> Facts:
    if _library(data) is None:
        raise InvalidInputError(f"{type(data).__name__} is no array or table, and so no part of a data set.")
    return _describe(data)


def _at_place(place: str | os.PathLike[str]) -> Facts:
    path = places.local_path(place)
    if path is not None:
        return files.describe(path)
    # Nobody waits for a network here: elsewhere, an address is all that is known.
    fingerprint = Fingerprint("url")
    fingerprint.add(places.place_of(place).source)
    return Facts("url", fingerprint.digest)


def _library(data: object) -> str | None:
    """The file here that knows a class, by where the class or one that it derives from is defined."""
    for base in type(data).__mro__:
        if (found := _LIBRARIES.get(base.__module__.partition(".")[0])) is not None:
            return found
    return None
