"""`prefect-ml db`."""

from __future__ import annotations

from cyclopts import App

from prefect_ml.cli.output import console
from prefect_ml.store import open_store

app = App(name="db", help="Upgrade the store.")


@app.command
def upgrade() -> None:
    """Bring the store's schema to this release; safe to run from several processes at once."""
    store = open_store()
    console.print(f"The store at {store.url} is up to date.", highlight=False, soft_wrap=True)
