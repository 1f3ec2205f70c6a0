"""`prefect-ml audit`."""

from __future__ import annotations

from cyclopts import App

from prefect_ml.cli.output import Json, console, emit, when
from prefect_ml.store import open_store

app = App(name="audit", help="Read and verify the audit log.")


@app.command(name="list")
def list_entries(*, subject: str | None = None, after: int = 0, max_results: int = 100, json: Json = False) -> None:
    """List audit entries, oldest first.

    Args:
        subject: Only entries about this, for example "models:/churn@champion".
        after: Only entries with a greater sequence number.
        max_results: How many at most.
        json: Print JSON for programs.
    """
    entries = open_store().audit(subject=subject, after=after, max_results=max_results)
    emit(
        entries,
        json=json,
        title="Audit log",
        columns=("#", "when", "who", "action", "subject", "reason"),
        rows=((e.sequence, when(e.at), e.actor, e.action, e.subject, e.reason) for e in entries),
    )


@app.command
def verify() -> None:
    """Check every entry against its hash and its predecessor; exit code 1 when one was changed."""
    count = open_store().verify_audit()
    console.print(f"{count} entries, the chain is whole.", highlight=False)
