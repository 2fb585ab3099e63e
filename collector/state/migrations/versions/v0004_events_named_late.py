"""Make the tables of events that wait for names, and of names that came late."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "waiting",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("events", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "late_names",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("cluster", "node", "pod_uid", "container_id")),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("subject", sa.LargeBinary, nullable=False),
    )
    op.create_index("late_names_by_time", "late_names", ["time"])
