"""How the two answers of a side by side came to be drawn."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of earlier answers it is not known, and stays empty."""
    op.add_column("generations", sa.Column("draw", sa.String(length=16), nullable=True))


def downgrade() -> None:
    """Take it away: drawn pairs are then taken for uniform ones."""
    op.drop_column("generations", "draw")
