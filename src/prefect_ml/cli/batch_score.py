"""`prefect-ml batch-score`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from cyclopts import Parameter

from prefect_ml.cli.output import Json, console, print_json
from prefect_ml.errors import PrefectMLError


def batch_score(
    model_uri: str,
    input: str,
    output: str,
    *,
    database: str | None = None,
    keep: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    features: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    prediction: str = "prediction",
    rows_per_chunk: int = 100_000,
    on_bad_rows: Literal["fail", "quarantine"] = "fail",
    overwrite: bool = False,
    runner: Annotated[Literal["threads", "processes", "dask", "ray"], Parameter(name="--runner")] = "threads",
    parallel: int = 4,
    experiment: str = "batch-scores",
    json: Json = False,
) -> None:
    """Score a whole data set with a model, here; started again, it goes on where it stopped.

    Args:
        model_uri: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `runs:/RUN_ID/PATH` or a model folder.
        input: Parquet or CSV: a file, a folder, a pattern in quotes, or a URL of these; with --database, a query.
        output: Folder or URL that the Parquet parts are written to.
        database: Secret block, or env:NAME of a variable, that holds the URL of the query's database.
        keep: Columns that are kept beside the predictions; all by default.
        features: Columns that the model takes, where its signature names none.
        prediction: Name of the column of predictions.
        rows_per_chunk: Rows that are held in memory at a time, for each of those that score in parallel.
        on_bad_rows: Whether rows that the model cannot score end the scoring, or are set aside.
        overwrite: Whether finished scores of something else may be replaced.
        runner: Where chunks are scored.
        parallel: How many chunks are scored at once.
        experiment: Name of the experiment of the run.
        json: Whether to print JSON.
    """
    from prefect_ml.flows import batch_score as flows  # noqa: PLC0415 (loads Prefect)

    state: Any = flows.batch_score(
        model_uri, input, output, database=database, keep=keep, features=features, prediction=prediction,
        rows_per_chunk=rows_per_chunk, on_bad_rows=on_bad_rows, overwrite=overwrite, task_runner=runner,
        parallel=parallel, experiment=experiment, return_state=True,
    )  # fmt: skip
    manifest = state.result(raise_on_failure=False)
    if isinstance(manifest, PrefectMLError):
        raise manifest
    if not isinstance(manifest, dict):
        raise PrefectMLError(f"The scoring failed: {state.message or manifest}")
    if json:
        print_json(manifest)
        return
    aside = f", {manifest['quarantined']} set aside" if manifest["quarantined"] else ""
    console.print(f"{manifest['rows']} rows scored{aside}: {output}", markup=False, highlight=False)
