"""An audit row about something else than what serves, in a store where nothing serves yet."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Numbers of audit rows are not given out twice: SQLite has to be told again when the table is copied.
KEEP = {"sqlite_autoincrement": True}


def upgrade() -> None:
    """Let `to_version` be empty."""
    with op.batch_alter_table("audit", table_kwargs=KEEP) as table:
        table.alter_column("to_version", existing_type=sa.Integer(), nullable=True)


def downgrade() -> None:
    """Require it again; rows without it go, since they say nothing of what serves."""
    op.execute("DELETE FROM audit WHERE to_version IS NULL")
    with op.batch_alter_table("audit", table_kwargs=KEEP) as table:
        table.alter_column("to_version", existing_type=sa.Integer(), nullable=False)
