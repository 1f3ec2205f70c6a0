"""`prefect-ml audit`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cyclopts import App

from prefect_ml.cli.output import Json, console, emit, when
from prefect_ml.store import open_store

app = App(name="audit", help="Read, export and verify the audit log.")


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
        columns=("#", "when", "who", "from", "action", "subject", "reason"),
        rows=((e.sequence, when(e.at), e.actor, _words(e.origin), e.action, e.subject, e.reason) for e in entries),
    )


@app.command
def export(file: Path, *, after: int = 0) -> None:
    """Write the log into a file that only you can read: JSON lines, and the head of the chain as the last one.

    Keep it where whoever runs the store's database cannot write. A file that is there is continued from its end.

    Args:
        file: Where to.
        after: Begin a new file after the entry of this number.
    """
    from prefect_ml.store.audit_export import export_audit  # noqa: PLC0415  only this command writes files

    added, last = export_audit(open_store(), file, after)
    text = f"{added} entries written to {file}, up to entry {last}."
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@app.command
def verify(*, against: Path | None = None) -> None:
    """Check every entry, and every record that it tells of; exit code 1 when one was changed.

    Args:
        against: A file of an earlier export: finds also a log that was rewritten as a whole.
    """
    store = open_store()
    count = store.verify_audit()
    console.print(f"{count} entries, the chain is whole, and the records are what it says.", highlight=False)
    if against is not None:
        from prefect_ml.store.audit_export import compare_audit  # noqa: PLC0415  only this command reads files

        same = compare_audit(store, against)
        text = f"{same} of them are in {against}, unchanged."
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def _words(origin: Mapping[str, object]) -> str:
    """From where, in few words: the way in, and the flow run, address or host."""
    claimed = origin.get("claimed")
    known = {**claimed, **origin} if isinstance(claimed, Mapping) else origin
    place = next((known[each] for each in ("flow_run", "client", "host") if known.get(each)), None)
    return " ".join(str(each) for each in (known.get("channel"), place) if each)
