"""The schema's history: one Alembic script a change, in order; run by `store.database` whenever a store is opened."""
