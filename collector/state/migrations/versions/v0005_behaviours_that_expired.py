"""Make the table of what was learned and is not done any more."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make it."""
    op.create_table(
        "expired",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("cluster", "namespace", "kind", "name", "container")),
        sa.Column("type", sa.Integer, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("replicas", "count", "first_seen", "last_seen", "expired")
        ),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("example", "parent")),
    )
