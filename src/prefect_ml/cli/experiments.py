"""`prefect-ml experiments`."""

from __future__ import annotations

from cyclopts import App

from prefect_ml.cli.output import Json, console, emit, when
from prefect_ml.entities import ViewType
from prefect_ml.store import open_store

app = App(name="experiments", help="List and change experiments.")


@app.command(name="list")
def list_experiments(*, filter: str = "", deleted: bool = False, max_results: int = 100, json: Json = False) -> None:
    """List experiments, newest first.

    Args:
        filter: In MLflow's language, for example "name LIKE 'churn%'".
        deleted: Show deleted ones instead.
        max_results: How many at most.
        json: Print JSON for programs.
    """
    view = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
    page = open_store().search_experiments(filter, view_type=view, max_results=max_results)
    emit(
        page.items,
        json=json,
        title="Experiments",
        columns=("id", "name", "created", "tags"),
        rows=((e.experiment_id, e.name, when(e.creation_time), e.tags) for e in page.items),
    )


@app.command
def create(name: str) -> None:
    """Create an experiment and print its id."""
    console.print(open_store().create_experiment(name), highlight=False)


@app.command
def rename(experiment_id: str, name: str) -> None:
    """Give an experiment another name."""
    open_store().rename_experiment(experiment_id, name)


@app.command
def delete(experiment_id: str) -> None:
    """Mark an experiment and its runs deleted; `restore` brings them back."""
    open_store().delete_experiment(experiment_id)


@app.command
def restore(experiment_id: str) -> None:
    """Make a deleted experiment and its runs active again."""
    open_store().restore_experiment(experiment_id)
