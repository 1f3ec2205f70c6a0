"""What Alembic runs: it uses the connection, and the transaction, that it is given."""

from __future__ import annotations

from alembic import context

from prefect_ml.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
