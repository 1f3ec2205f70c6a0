"""`prefect-ml import`, `prefect-ml export` and `prefect-ml models copy`."""

from __future__ import annotations

import sys
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.markdown import Markdown

from prefect_ml.cli.output import Json, complaints, console, print_json
from prefect_ml.errors import InvalidInputError
from prefect_ml.store import open_store

if TYPE_CHECKING:
    from prefect_ml.moving.report import Report
    from prefect_ml.store.contract import Store

app = App(name="import", help="Take experiments, runs and models over from elsewhere, unchanged.")

From = Annotated[str, Parameter(name="--from")]
Experiments = Annotated[list[str] | None, Parameter(name="--experiment", negative="")]
Models = Annotated[list[str] | None, Parameter(name="--model", negative="")]
Skip = Annotated[bool, Parameter(name="--skip-unreadable", negative="")]


@app.command(name="mlflow")
def import_mlflow(
    *,
    origin: From,
    artifacts: str | None = None,
    experiment: Experiments = None,
    model: Models = None,
    threads: int = 8,
    skip_unreadable: Skip = False,
    json: Json = False,
) -> None:
    """Take over what a tracking server or a database of MLflow's has; run it again, and it goes on.

    Args:
        origin: http://host:5000 of a server, or sqlite:////folder/mlflow.db or postgresql://user@host/database.
        artifacts: For a database: folder or URL where its server keeps what is at mlflow-artifacts:/.
        experiment: Only these experiments, by name.
        model: Only these registered models, by name, with what their versions need.
        threads: Runs that are carried at once.
        skip_unreadable: Take a run over without those of its files that cannot be read; else it does not come.
        json: Print JSON for programs.
    """
    from prefect_ml.moving.opening import mlflow_origin  # noqa: PLC0415 (only this command needs it)
    from prefect_ml.moving.origin import Wanted  # noqa: PLC0415
    from prefect_ml.moving.transfer import take_over  # noqa: PLC0415

    wanted = Wanted(frozenset(experiment or ()), frozenset(model or ()))
    opened = mlflow_origin(origin, artifacts)
    report = take_over(opened, open_store(), wanted, threads=threads, skip_unreadable=skip_unreadable)
    opened.close()
    _print(report, json=json)


@app.command(name="folder")
def import_folder(
    *,
    folder: Annotated[Path, Parameter(name="--from")],
    experiment: Experiments = None,
    model: Models = None,
    threads: int = 8,
    json: Json = False,
) -> None:
    """Take over what an export has; run it again, and it goes on.

    Args:
        folder: What `prefect-ml export` wrote.
        experiment: Only these experiments, by name.
        model: Only these registered models, by name, with what their versions need.
        threads: Runs that are carried at once.
        json: Print JSON for programs.
    """
    from prefect_ml.moving.folder import FolderOrigin  # noqa: PLC0415 (only this command needs it)
    from prefect_ml.moving.origin import Wanted  # noqa: PLC0415
    from prefect_ml.moving.transfer import take_over  # noqa: PLC0415

    wanted = Wanted(frozenset(experiment or ()), frozenset(model or ()))
    _print(take_over(FolderOrigin(folder), open_store(), wanted, threads=threads), json=json)


def export(folder: Path, *, experiment: Experiments = None, model: Models = None, json: Json = False) -> None:
    """Write everything, or what is named, into a folder that `prefect-ml import folder` reads.

    Args:
        folder: A new or empty folder.
        experiment: Only these experiments, by name.
        model: Only these registered models, by name, with what their versions need.
        json: Print JSON for programs.
    """
    from prefect_ml.moving.export import export as write  # noqa: PLC0415 (only this command needs it)
    from prefect_ml.moving.opening import own_origin  # noqa: PLC0415
    from prefect_ml.moving.origin import Wanted  # noqa: PLC0415

    wanted = Wanted(frozenset(experiment or ()), frozenset(model or ()))
    _print(write(own_origin(open_store()), folder, wanted), json=json)


def copy(
    model_uri: str,
    *,
    to: str,
    origin: Annotated[str | None, Parameter(name="--from")] = None,
    promote_to: str | None = None,
    requester: str | None = None,
    aliases: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Copy a model version with its lineage, files and evidence to another server, and verify it there.

    Args:
        model_uri: models:/churn/3, models:/churn@champion, or models:/churn for all of its versions.
        to: http://host:5000 of the other server, asked with PREFECT_ML_SERVER_TOKEN, or a TrackingServer block.
        origin: The same, of where it is; the store of the settings when left out.
        promote_to: An alias there that the version asks for; the gates are judged now, and people decide.
        requester: Who copies and asks; the system's user when left out.
        aliases: Bring unprotected aliases and stages along.
        json: Print JSON for programs.
    """
    from prefect_ml.moving.environments import asked_already, copy_versions, holds  # noqa: PLC0415 (only this needs it)

    if to.startswith(("sqlite:", "postgres")):
        raise InvalidInputError(
            "Models are copied to http://host:5000 of a server, or to a TrackingServer block; to move them into "
            "another database, use `prefect-ml export` and `prefect-ml import folder`."
        )
    target, actor = _named(to), requester or getuser()
    copied = copy_versions(_named(origin), target, model_uri, actor=actor, aliases=aliases)
    if promote_to and len(copied.versions) != 1:
        raise InvalidInputError(f"{len(copied.versions)} versions were copied; name the one that asks for an alias.")
    if promote_to and not holds(target, version := copied.versions[0], promote_to):
        from prefect_ml.registry.promotion import request_promotion  # noqa: PLC0415 (only who asks needs it)

        request = asked_already(target, version, promote_to) or request_promotion(
            target, version.name, version.version, promote_to, requester=actor
        )
        complaints.print(f"Promotion request {request.request_id} is {request.status}.", highlight=False)
    _print(copied.report, json=json)


def _named(where: str | None) -> Store:
    """A store by its URL, or by the name of its block, which needs Prefect."""
    if where is None or ":" in where:
        return open_store(where)
    from prefect_ml.blocks.server import named_store  # noqa: PLC0415 (Prefect is imported only for a block)

    return named_store(where)


def _print(report: Report, *, json: bool) -> None:
    if json:
        print_json(report.document())
    else:
        console.print(Markdown(report.markdown()))
    if not report.complete:
        sys.exit(1)
