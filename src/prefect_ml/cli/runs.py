"""`prefect-ml runs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from cyclopts import App
from rich.text import Text

from prefect_ml.artifacts import open_artifacts
from prefect_ml.cli.inputs import COLUMNS, by_use, input_row
from prefect_ml.cli.output import Json, duration, emit, fields_of, print_fields, print_json, print_table, show, when
from prefect_ml.entities import Run
from prefect_ml.errors import InvalidInputError
from prefect_ml.store import open_store
from prefect_ml.store.contract import Store
from prefect_ml.tracking.summary import apart

# Characters of a param or tag that are shown.
_LONGEST = 300

app = App(name="runs", help="List, show and compare runs.")


@app.command(name="list")
def list_runs(
    *,
    experiment: str | None = None,
    filter: str = "",
    order_by: Sequence[str] = (),
    max_results: int = 20,
    json: Json = False,
) -> None:
    """List runs, newest first.

    Args:
        experiment: Name or id; all experiments when left out.
        filter: In MLflow's language, for example "metrics.auc > 0.9 and params.c = '1.0'".
        order_by: For example "metrics.auc DESC"; may be repeated.
        max_results: How many at most.
        json: Print JSON for programs.
    """
    store = open_store()
    page = store.search_runs(_experiments(store, experiment), filter, order_by, max_results=max_results)
    emit(
        [_document(run) for run in page.items],
        json=json,
        title="Runs" + ("" if page.next_token is None else f" (the first {max_results})"),
        columns=("run id", "name", "status", "started", "took", "metrics"),
        rows=(
            (r.run_id, r.name, r.status, when(r.start_time), duration(r.start_time, r.end_time), _brief(r.metrics))
            for r in page.items
        ),
    )


@app.command(name="show")
def show_run(run_id: str, *, json: Json = False) -> None:
    """Show one run: params, metrics, tags, data sets and artifacts."""
    run = open_store().get_run(run_id)
    files = open_artifacts(run.artifact_uri).list()
    if json:
        print_json({**_document(run), "artifacts": files})
        return
    print_fields(
        f"Run {run.name}",
        {
            "run id": run.run_id,
            "experiment id": run.experiment_id,
            "status": run.status,
            "user": run.user_id,
            "started": when(run.start_time),
            "took": duration(run.start_time, run.end_time),
            "artifacts": [f.name + ("/" if f.is_folder else "") for f in files],
            "artifact uri": run.artifact_uri,
        },
    )
    own, system = apart(run.metrics)
    for title, values in (("Params", run.params), ("Metrics", own), ("System metrics", system), ("Tags", run.tags)):
        if values:
            print_fields(title, {key: _shortened(value) for key, value in sorted(values.items())})
    if run.inputs:
        print_table("Data sets", COLUMNS, [input_row(used) for used in run.inputs])


@app.command
def steps(run_id: str, *, json: Json = False) -> None:
    """Show the task runs of a flow's run, and what each recorded."""
    from prefect_ml.flowruns.steps import get_steps  # noqa: PLC0415 (only this command needs Prefect)

    found = get_steps(open_store(), run_id)
    emit(
        [asdict(step) for step in found],
        json=json,
        title=f"Steps of {run_id}",
        columns=("step", "state", "started", "took", "retries", "recorded"),
        rows=(
            (
                step.name,
                step.state,
                when(step.start_time),
                duration(step.start_time, step.end_time),
                max(step.run_count - 1, 0),
                _recorded(step.recorded),
            )
            for step in found
        ),
    )


@app.command
def attempts(run_id: str, *, json: Json = False) -> None:
    """Show the attempts of a run: where and when each was executed, and how it ended."""
    found = open_store().get_attempts(run_id)
    emit(
        [asdict(attempt) for attempt in found],
        json=json,
        title=f"Attempts of {run_id}",
        columns=("number", "started", "took", "outcome", "host", "process"),
        rows=(
            (a.number, when(a.start_time), duration(a.start_time, a.end_time), a.outcome or "RUNNING", a.host, a.pid)
            for a in found
        ),
    )


@app.command
def compare(*run_ids: str, all: bool = False, json: Json = False) -> None:
    """Compare runs side by side: what differs, each run a column.

    Args:
        run_ids: Two or more.
        all: Show what is equal as well.
        json: Print JSON for programs.
    """
    if len(run_ids) < 2:  # noqa: PLR2004 (a comparison is of two or more)
        raise InvalidInputError("Name two or more runs to compare; `prefect-ml runs list` shows their ids.")
    store = open_store()
    runs = [store.get_run(run_id) for run_id in run_ids]
    if json:
        print_json([_document(run) for run in runs])
        return
    columns = ("", *(f"{run.name}\n{run.run_id[:8]}" for run in runs))
    for title, values in (
        ("Metrics", [r.metrics for r in runs]),
        ("Params", [r.params for r in runs]),
        ("Data sets", [by_use(r.inputs) for r in runs]),
    ):
        rows = list(_side_by_side(values, everything=all))
        if rows:
            print_table(title, columns, rows)


@app.command
def history(run_id: str, key: str, *, max_points: int = 50, json: Json = False) -> None:
    """Print the curve of a metric, evenly sampled."""
    points = open_store().sample_metric_history(run_id, key, max_points)
    emit(
        [point._asdict() for point in points],
        json=json,
        title=f"{key} of {run_id}",
        columns=("step", "value", "time"),
        rows=((p.step, p.value, when(p.timestamp)) for p in points),
    )


@app.command
def delete(run_id: str) -> None:
    """Mark a run deleted; `restore` brings it back."""
    open_store().delete_run(run_id)


@app.command
def restore(run_id: str) -> None:
    """Make a deleted run active again."""
    open_store().restore_run(run_id)


def _experiments(store: Store, experiment: str | None) -> Sequence[str]:
    if experiment is None:
        found, token = [], None
        while True:
            page = store.search_experiments(page_token=token)
            found += [e.experiment_id for e in page.items]
            token = page.next_token
            if token is None:
                return found
    if experiment.isdecimal():
        return [store.get_experiment(experiment).experiment_id]
    return [store.get_experiment_by_name(experiment).experiment_id]


def _recorded(names: Mapping[str, Sequence[str]], most: int = 4) -> str:
    """Kinds and names in brief."""
    parts = []
    for kind, found in sorted(names.items()):
        more = f" and {len(found) - most} more" if len(found) > most else ""
        parts.append(f"{kind} {', '.join(found[:most])}{more}")
    return "; ".join(parts)


def _document(run: Run) -> dict[str, object]:
    """A run as JSON, with the latest value of each metric by its key."""
    return {**fields_of(run), "metrics": run.metrics}


def _brief(metrics: Mapping[str, float], most: int = 4) -> str:
    own, _ = apart(metrics)
    shown = [f"{key}={value:.4g}" for key, value in sorted(own.items())[:most]]
    return ", ".join([*shown, "…"] if len(own) > most else shown)


def _shortened(value: object) -> object:
    if isinstance(value, str) and len(value) > _LONGEST:
        return f"{value[:_LONGEST]}… ({len(value)} characters; --json prints them all)"
    return value


def _side_by_side(values: Sequence[Mapping[str, object]], *, everything: bool) -> list[list[Text]]:
    rows = []
    for key in sorted({key for value in values for key in value}):
        cells = [show(value.get(key)) for value in values]
        differ = len({cell.plain for cell in cells}) > 1
        if differ or everything:
            rows.append([Text(key, style="bold" if differ else ""), *cells])
    return rows
