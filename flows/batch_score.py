"""The flow that scores a whole data set with a model: Parquet, CSV or a query in, a folder of Parquet parts out."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, Literal, cast

from prefect import flow, get_run_logger
from prefect.blocks.system import Secret

import prefect_ml as ml
from prefect_ml.errors import InvalidInputError
from prefect_ml.flows.batch_loop import Loop
from prefect_ml.flows.batch_page import Page
from prefect_ml.flows.runners import task_runner_of
from prefect_ml.models.mlmodel import read_info
from prefect_ml.scoring.features import Features
from prefect_ml.scoring.inputs import plan_input
from prefect_ml.scoring.job import Job, settle_model
from prefect_ml.scoring.manifest import datasets_of, manifest_of
from prefect_ml.scoring.parts import begin, check_output, finish
from prefect_ml.scoring.plan import Plan
from prefect_ml.settings import Settings
from prefect_ml.tracking.model_inputs import note_model

_ENVIRONMENT = "env:"
_MOST_ROWS = 10_000_000


@ml.track(experiment="{experiment}")
@flow(name="batch-score", flow_run_name="score with {model_uri}")
def batch_score(
    model_uri: str,
    input: str,
    output: str,
    *,
    database: str | None = None,
    keep: list[str] | None = None,
    features: list[str] | None = None,
    params: dict[str, Any] | None = None,
    prediction: str = "prediction",
    rows_per_chunk: int = 100_000,
    on_bad_rows: Literal["fail", "quarantine"] = "fail",
    overwrite: bool = False,
    task_runner: Any = "threads",
    parallel: int = 4,
    experiment: str = "batch-scores",  # noqa: ARG001 - read by @track
) -> dict[str, Any]:
    """Score each row of a data set once, in order; started again, it goes on where it stopped.

    Memory does not grow with the data: a chunk is read, scored and written at a time in each task. Each part appears
    whole or never, and the manifest `_manifest.json` when all are there.

    Args:
        model_uri: `models:/<name>@<alias>`, `models:/<name>/<version>`, `runs:/<run id>/<path>` or a model folder; what
            it means when the flow starts scores all rows.
        input: A Parquet or CSV file, a folder of such files, or a pattern (`data/2026-*/**/*.parquet`); a path, or a
            URL of S3 (`s3://`), Google (`gs://`) or Azure (`abfss://`). With `database`, a query.
        output: Folder of the scores, a path or URL of such a place; it holds nothing else.
        database: Where a query is for: the name of a Secret block with SQLAlchemy's URL, or `env:NAME` for one that
            stands in an environment variable. Never the URL itself: parameters are kept and shown.
        keep: Columns of the input that are kept beside the predictions; all by default.
        features: Columns that the model takes, where its signature names none; all by default.
        params: Inference parameters of the model.
        prediction: Name of the column of predictions; of several, the beginning of their names.
        rows_per_chunk: Rows that a task holds in memory, at most.
        on_bad_rows: "fail", or "quarantine" to set rows that the model cannot score aside, below `_quarantine`.
        overwrite: Whether finished scores of other data or another model may be replaced.
        task_runner: "threads", "processes", "dask", "ray", or a task runner of your own.
        parallel: How many chunks are scored at once.
        experiment: Name of the experiment of the run.

    Returns:
        The manifest: `model` (uri, name, version, digest), `inputs` (name, digest, rows of each), `rows`,
        `quarantined`, `parts` and `options`.

    Raises:
        NotFoundError: there is no such model or input.
        InvalidInputError: something that cannot be meant, or a column that the model takes is not there.
        AlreadyExistsError: the output holds something else.
        ChunkError: a chunk could not be scored; it names the file and the rows. Parts that are done stay.
    """
    began = time.monotonic()
    if not 1 <= rows_per_chunk <= _MOST_ROWS:
        raise InvalidInputError(f"A chunk has 1 to {_MOST_ROWS} rows, not {rows_per_chunk}.")
    runner = task_runner_of(task_runner, parallel)
    run, log = ml.current_run(), get_run_logger()
    model, resolved, folder = settle_model(model_uri, Settings())
    note_model(run, resolved)
    check_output(output)
    plan = plan_input(input, output, rows_per_chunk, None if database is None else _url(database))
    for used in datasets_of(input, plan, database):
        run.log_input(used, context="scoring")
    taken = Features(read_info(folder).signature, plan.schema, features)
    job = Job(
        model=model,
        output=output,
        schema=plan.schema.serialize().to_pybytes(),
        keep=_kept(plan, keep),
        features=None if features is None else taken.columns,
        params=params or {},
        prediction=prediction,
        on_bad_rows=on_bad_rows,
    )
    done = begin(output, {chunk.number: job.key(chunk) for chunk in plan.chunks}, overwrite=overwrite)
    log.info("%d rows in %d chunks, of which %d are scored already.", plan.rows, len(plan.chunks), len(done))
    page = Page(model, plan, len(done))
    with runner:
        parts = Loop(runner, job, parallel, page).run(plan.chunks, done)
    manifest = manifest_of(job, plan, parts, run.run_id)
    if plan.rows and not manifest["rows"]:
        raise InvalidInputError(f"The model could score none of the {plan.rows} rows; {output!r} tells why of each.")
    finish(output, manifest)
    seconds = time.monotonic() - began
    page.finish(manifest, seconds)
    fresh = sum(part.rows for number, part in parts.items() if number not in done)
    run.log_metrics(
        {
            "rows": manifest["rows"],
            "quarantined": manifest["quarantined"],
            "parts": len(parts),
            "parts_kept": len(done),
            "seconds": seconds,
            "rows_per_second": fresh / seconds,
        }
    )
    return manifest


def _kept(plan: Plan, keep: Sequence[str] | None) -> list[str]:
    names: list[str] = list(plan.schema.names)
    if keep is None:
        return names
    if missing := [name for name in keep if name not in names]:
        raise InvalidInputError(f"There is no column {missing[0]!r} to keep; the data have {', '.join(names[:50])}.")
    return list(keep)


def _url(database: str) -> str:
    """The URL of the database that is named."""
    if database.startswith(_ENVIRONMENT):
        name = database.removeprefix(_ENVIRONMENT)
        if not (url := os.environ.get(name)):
            raise InvalidInputError(f"The environment variable {name!r}, which should hold a database's URL, is empty.")
        return url
    if "://" in database:
        raise InvalidInputError(
            "Parameters are kept and shown, so they hold no URL of a database: save it as a Secret block and give its "
            "name, or name an environment variable with 'env:NAME'."
        )
    try:
        return str(cast("Secret[str]", Secret.load(database)).get())
    except ValueError as error:
        raise InvalidInputError(
            f"There is no Secret block {database!r}: save the database's SQLAlchemy URL as one under that name."
        ) from error
