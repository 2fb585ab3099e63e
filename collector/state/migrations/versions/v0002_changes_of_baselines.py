"""Make the table of what people did to baselines."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make it."""
    workload = ("cluster", "namespace", "kind", "name")
    op.create_table(
        "changes",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in workload),
        sa.Column("action", sa.Integer, nullable=False),
        sa.Column("container", sa.Text, nullable=False),
        sa.Column("type", sa.Integer, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("key", "author", "why")),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("via", sa.Text, nullable=False),
    )
    op.create_index("changes_by_workload", "changes", [*workload, "number"])
