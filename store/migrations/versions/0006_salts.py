"""Secret salts: what the holdout and the pseudonyms of imported people are drawn by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table. A store that holds people keeps its split, which was drawn without a salt."""
    salts = op.create_table(
        "salts",
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("value", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("purpose", name=op.f("pk_salts")),
    )
    if op.get_bind().execute(sa.text("SELECT 1 FROM people LIMIT 1")).first() is not None:
        op.bulk_insert(salts, [{"purpose": "holdout", "value": ""}])


def downgrade() -> None:
    """Drop the table: the split is drawn without a salt again, and imports tell people apart by a new one."""
    op.drop_table("salts")
