"""Run by Alembic: migrates over the connection that `store.database` hands in, inside that connection's transaction."""

from __future__ import annotations

from alembic import context

from store.schema import Tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Tables.metadata,
    # SQLite cannot alter most of a table: Alembic then copies it.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
