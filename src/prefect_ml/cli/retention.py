"""`prefect-ml retention`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from prefect_ml.cli.output import Json, console, print_json, print_table, when
from prefect_ml.store import open_store

if TYPE_CHECKING:
    from prefect_ml.moving.retention import Removal

Yes = Annotated[bool, Parameter(name="--yes", negative="")]
Held = Annotated[bool, Parameter(name="--held", negative="")]
Elsewhere = Annotated[bool, Parameter(name="--elsewhere", negative="")]


def retention(
    *, older_than: str, yes: Yes = False, held: Held = False, elsewhere: Elsewhere = False, json: Json = False
) -> None:
    """Remove for good what was deleted long ago, with its files; without --yes, tell what would go.

    Args:
        older_than: How long ago it was deleted at least: 30d, 12h, 2w.
        yes: Do it.
        held: Remove also what model versions need: their runs and logged models.
        elsewhere: Remove also what has its files outside of the artifact root, where a client chose to have them.
        json: Print JSON for programs.
    """
    from prefect_ml.moving.retention import parse_age, plan, remove  # noqa: PLC0415 (only this command needs it)

    act = remove if yes else plan
    removal = act(open_store(), parse_age(older_than), held=held, elsewhere=elsewhere)
    if json:
        print_json(removal)
        return
    print_table(
        "Removed" if removal.done else "Would be removed",
        ("kind", "id", "name", "deleted", "files", "bytes"),
        (
            (each.what.kind, each.what.id, each.what.name, when(each.what.deletion_time), each.files, each.bytes)
            for each in removal.gone
        ),
    )
    if removal.kept:
        kept = ((each.kind, each.id, each.held_by) for each in removal.kept)
        print_table("Kept: model versions need them, or experiments in them", ("kind", "id", "needed by"), kept)
    if removal.elsewhere:
        outside = ((each.kind, each.id, each.artifact_uri) for each in removal.elsewhere)
        print_table("Kept: their files are outside of the artifact root", ("kind", "id", "files"), outside)
    console.print(_total(removal), markup=False, highlight=False)


def _total(removal: Removal) -> str:
    counts = Counter(str(each.what.kind) for each in removal.gone)
    what = ", ".join(f"{count} {kind}s" for kind, count in counts.items()) or "nothing"
    if removal.done:
        return f"Removed {what}: {removal.files} files, {removal.bytes} bytes."
    return f"Would remove {what}: {removal.files} files, {removal.bytes} bytes. Run it with --yes to do it."
