"""Keep the rank of each incident beside it, to find the highest."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rank what is there by its severity, as `collector.risk.rank_of` did when this was written."""
    op.add_column("incidents", sa.Column("risk", sa.Integer, nullable=False, server_default="0"))
    op.execute("UPDATE incidents SET risk = 16 * severity")
