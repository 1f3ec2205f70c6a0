"""What a scoring was of, for who reads its output and for the run that records it."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import orjson

from prefect_ml.entities import Dataset

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prefect_ml.scoring.job import Job
    from prefect_ml.scoring.parts import Part
    from prefect_ml.scoring.plan import Plan

_MOST_FILES = 50
_LONGEST_DIGEST = 36


def manifest_of(job: Job, plan: Plan, parts: Mapping[int, Part], run_id: str) -> dict[str, Any]:
    """The manifest: model, inputs with their digests, counts of rows, and the parts in order."""
    ordered = [parts[number] for number in sorted(parts)]
    return {
        "format": 1,
        "model": {
            "uri": job.model.uri,
            "name": job.model.name,
            "version": job.model.version,
            "digest": job.model.digest,
        },
        "inputs": [dict(each) for each in plan.inputs],
        "rows": sum(part.rows for part in ordered),
        "quarantined": sum(part.aside for part in ordered),
        "parts": [{"name": part.name, "rows": part.rows, "quarantined": part.aside} for part in ordered],
        "options": {
            "keep": list(job.keep),
            "features": None if job.features is None else list(job.features),
            "params": dict(job.params),
            "prediction": job.prediction,
            "on_bad_rows": job.on_bad_rows,
        },
        "run_id": run_id,
        "finished": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }


def datasets_of(given: str, plan: Plan, database: str | None) -> Sequence[Any]:
    """What the run logs as its inputs: a place as it was given, the files of a pattern, or the rows of a query."""
    if database is None:
        whole = not any(mark in given for mark in "*?[")
        return [given] if whole else [about["name"] for about in plan.inputs[:_MOST_FILES]]
    [about] = plan.inputs
    source = orjson.dumps({"query": given, "database": database}).decode()
    profile = orjson.dumps({"num_rows": about["rows"], "num_columns": len(plan.schema.names)}).decode()
    digest = about["digest"].removeprefix("sha256:")[:_LONGEST_DIGEST]
    return [Dataset("query", digest, "sql", source, profile=profile)]
