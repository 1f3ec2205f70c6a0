"""`prefect-ml models`."""

from __future__ import annotations

from cyclopts import App

from prefect_ml.cli.output import Json, emit, fields_of, print_fields, print_json, print_table, when
from prefect_ml.entities import ModelVersion
from prefect_ml.registry.history import alias_at, moment
from prefect_ml.store import open_store

app = App(name="models", help="List, show, register and copy models.")
app.command("prefect_ml.cli.moving:copy", name="copy", help="Copy a model with its lineage to another server.")
app.command("prefect_ml.cli.check:check", name="check", help="Load a model in a clean environment, and replay it.")
app.command("prefect_ml.cli.convert:convert", name="convert", help="Write an old model of XGBoost anew.")
app.command("prefect_ml.cli.signing:keygen", name="keygen", help="Make a signer's key.")
app.command("prefect_ml.cli.signing:sign", name="sign", help="Sign the files of a model.")
app.command("prefect_ml.cli.signing:verify", name="verify", help="Say who signed a model.")
app.command("prefect_ml.cli.signing:scan", name="scan", help="Name what each pickle in a model would import.")

VERSION_COLUMNS = ("version", "aliases", "stage", "created", "run id", "digest")


@app.command(name="list")
def list_models(*, filter: str = "", max_results: int = 100, json: Json = False) -> None:
    """List registered models by name.

    Args:
        filter: In MLflow's language, for example "name LIKE 'churn%'".
        max_results: How many at most.
        json: Print JSON for programs.
    """
    page = open_store().search_registered_models(filter, max_results=max_results)
    emit(
        page.items,
        json=json,
        title="Registered models",
        columns=("name", "aliases", "updated", "description"),
        rows=(
            (m.name, [f"{a} → {v}" for a, v in m.aliases.items()], when(m.last_updated_timestamp), m.description)
            for m in page.items
        ),
    )


@app.command(name="show")
def show_model(name: str, version: int | None = None, *, json: Json = False) -> None:
    """Show a registered model and its versions, or one version."""
    store = open_store()
    if version is not None:
        found = store.get_model_version(name, version)
        if json:
            print_json(found)
        else:
            print_fields(f"{name} version {version}", fields_of(found))
        return
    model = store.get_registered_model(name)
    versions = store.search_model_versions(f"name = '{_quoted(name)}'", order_by=["version_number DESC"]).items
    aliases = [store.get_alias(name, alias) for alias in model.aliases]
    if json:
        print_json({**fields_of(model), "versions": versions, "alias_details": aliases})
        return
    print_table(f"{name}: versions", VERSION_COLUMNS, (_version_row(v) for v in versions))
    print_table(
        f"{name}: aliases",
        ("alias", "version", "generation", "previous", "moved", "by"),
        ((a.alias, a.version, a.generation, a.previous_version, when(a.moved_at), a.moved_by) for a in aliases),
    )


@app.command
def register(source: str, name: str, *, description: str = "", json: Json = False) -> None:
    """Register a model folder as the next version of a model.

    Args:
        source: `runs:/RUN_ID/model`, or a folder that holds an MLmodel file.
        name: The registered model; made when it does not exist.
        description: What is new in it.
        json: Print JSON for programs.
    """
    from prefect_ml.flowruns.announced import register_model  # noqa: PLC0415 (loads Prefect)

    version = register_model(open_store(), source, name, description=description)
    if json:
        print_json(version)
    else:
        print_table(f"Registered {name}", VERSION_COLUMNS, [_version_row(version)])


@app.command
def history(name: str, alias: str, *, at: str | None = None, json: Json = False) -> None:
    """Print every move of an alias, oldest first, or where it pointed at a time.

    Args:
        name: The registered model.
        alias: The alias.
        at: A time like 2026-11-01T12:00, of this machine's time zone unless it names another.
        json: Print JSON for programs.
    """
    if at is not None:
        found = alias_at(open_store(), name, alias, moment(at))
        if json:
            print_json(found)
        else:
            print_fields(f"{name}@{alias} at {at}", {**fields_of(found), "moved_at": when(found.moved_at)})
        return
    moves = open_store().alias_history(name, alias)
    emit(
        moves,
        json=json,
        title=f"{name}@{alias}",
        columns=("generation", "version", "previous", "moved", "by", "request", "reason"),
        rows=(
            (m.generation, m.version, m.previous_version, when(m.moved_at), m.moved_by, m.request_id, m.reason)
            for m in moves
        ),
    )


def _version_row(version: ModelVersion) -> tuple[object, ...]:
    return (
        version.version,
        version.aliases,
        version.stage,
        when(version.creation_timestamp),
        version.run_id,
        version.artifact_digest[:19],
    )


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
