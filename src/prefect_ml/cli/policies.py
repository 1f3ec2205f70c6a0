"""`prefect-ml policies`."""

from __future__ import annotations

from getpass import getuser
from pathlib import Path

from cyclopts import App

from prefect_ml.cli.output import Json, emit, fields_of, print_fields, print_json, when
from prefect_ml.store import open_store

app = App(name="policies", help="List and save promotion policies.")


@app.command(name="list")
def list_policies(*, json: Json = False) -> None:
    """List the policies in force."""
    policies = open_store().list_policies()
    emit(
        policies,
        json=json,
        title="Promotion policies",
        columns=("name", "version", "models", "aliases", "gates", "approvals", "saved", "by"),
        rows=(
            (
                p.name,
                p.version,
                p.model_pattern,
                p.aliases,
                [gate["name"] for gate in p.gates],
                p.approvals,
                when(p.saved_at),
                p.saved_by,
            )
            for p in policies
        ),
    )


@app.command
def show(name: str, version: int | None = None, *, json: Json = False) -> None:
    """Show a policy, the newest version unless one is named."""
    policy = open_store().get_policy(name, version)
    if json:
        print_json(policy)
    else:
        print_fields(f"Policy {name}", fields_of(policy))


@app.command
def save(file: Path, *, actor: str | None = None, reason: str = "", json: Json = False) -> None:
    """Save the policy of a YAML file as its next version.

    Args:
        file: The YAML file.
        actor: Who saves it; the system's user name by default.
        reason: Why; needed when the change takes protection from an alias that is set.
        json: Print JSON for programs.
    """
    from prefect_ml.registry.policy import PromotionPolicy  # noqa: PLC0415 (only this command needs it)

    policy = PromotionPolicy.from_yaml(file.read_text(encoding="utf-8")).to_entity()
    saved = open_store().save_policy(policy, actor=actor or getuser(), reason=reason)
    if json:
        print_json(saved)
    else:
        print_fields(f"Saved policy {saved.name}", fields_of(saved))
