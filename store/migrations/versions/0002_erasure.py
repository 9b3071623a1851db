"""Erasure: when a person was erased, and whom each update learned from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tombstone's time and the table."""
    op.add_column("people", sa.Column("erased", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "trained_on",
        sa.Column("update_id", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name=op.f("fk_trained_on_person_id")),
        sa.ForeignKeyConstraint(["update_id"], ["updates.id"], name=op.f("fk_trained_on_update_id")),
        sa.PrimaryKeyConstraint("update_id", "person_id", name=op.f("pk_trained_on")),
    )
    op.create_index(op.f("ix_trained_on_person_id"), "trained_on", ["person_id"])


def downgrade() -> None:
    """Take both away; who was erased is then no longer known, though their words stay gone."""
    op.drop_index(op.f("ix_trained_on_person_id"), table_name="trained_on")
    op.drop_table("trained_on")
    op.drop_column("people", "erased")
