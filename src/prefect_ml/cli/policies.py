"""`prefect-ml policies`."""

from __future__ import annotations

from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App

from prefect_ml.cli.output import Json, emit, fields_of, print_fields, print_json, when
from prefect_ml.errors import InvalidInputError, NotFoundError
from prefect_ml.store import open_store

if TYPE_CHECKING:
    from prefect_ml.registry.policy import PromotionPolicy

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
def save(
    file: Path | None = None,
    *,
    block: str | None = None,
    actor: str | None = None,
    reason: str = "",
    json: Json = False,
) -> None:
    """Save the policy of a YAML file, or of a PromotionPolicyBlock, as its next version.

    Args:
        file: The YAML file.
        block: The block's name, in the place of a file.
        actor: Who saves it; the system's user name by default.
        reason: Why; needed when the change weakens what protects an alias that is set.
        json: Print JSON for programs.
    """
    from prefect_ml.registry.policy import PromotionPolicy  # noqa: PLC0415 (only this command needs it)

    if (file is None) == (block is None):
        raise InvalidInputError("Name a YAML file, or a block by --block NAME: one of the two.")
    policy = _of_block(block) if file is None else PromotionPolicy.from_yaml(file.read_text(encoding="utf-8"))
    saved = open_store().save_policy(policy.to_entity(), actor=actor or getuser(), reason=reason)
    if json:
        print_json(saved)
    else:
        print_fields(f"Saved policy {saved.name}", fields_of(saved))


def _of_block(name: str | None) -> PromotionPolicy:
    from prefect_ml.blocks.policy import PromotionPolicyBlock  # noqa: PLC0415 (loads Prefect)

    try:
        found: Any = PromotionPolicyBlock.load(name or "")
    except ValueError as error:
        raise NotFoundError(f"There is no PromotionPolicyBlock {name!r}; see them with: prefect block ls") from error
    policy: PromotionPolicy = found.policy
    return policy
