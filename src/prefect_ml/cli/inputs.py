"""The data sets of runs, as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from prefect_ml.entities import DatasetInput
from prefect_ml.lineage.tags import DATA_CONTEXT

COLUMNS = ("name", "digest", "context", "rows", "columns", "source")


def input_row(used: DatasetInput) -> Sequence[object]:
    """What `COLUMNS` names; None where it is not known."""
    dataset, profile = used.dataset, _fields(used.dataset.profile)
    counts = (profile.get("num_rows"), profile.get("num_columns"))
    return (dataset.name, dataset.digest, used.tags.get(DATA_CONTEXT), *counts, _place(dataset.source))


def by_use(inputs: Sequence[DatasetInput]) -> Mapping[str, str]:
    """Digests and rows by name and context: what two runs have to have in common to have used the same data."""
    found: dict[str, list[str]] = {}
    for used in inputs:
        name, digest, context, rows, *_ = input_row(used)
        known = "" if rows is None else f" ({rows} rows)"
        found.setdefault(f"{name} ({context})" if context else str(name), []).append(f"{digest}{known}")
    return {use: "\n".join(digests) for use, digests in found.items()}


def _place(source: str) -> str:
    """The path, URL or program in a source's JSON; the JSON of a source of somebody else's kind."""
    fields = _fields(source)
    tags = fields.get("tags")
    named = tags.get("mlflow.source.name") if isinstance(tags, dict) else None
    return str(fields.get("uri") or fields.get("url") or named or source)


def _fields(text: str) -> dict[str, Any]:
    """The JSON object that a text is; nothing for any other text, which other clients may have kept."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
